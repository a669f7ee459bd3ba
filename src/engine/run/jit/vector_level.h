/* What floating-point and vector instructions need before they may run as host instructions. */
#ifndef KVIK_ENGINE_RUN_JIT_VECTOR_LEVEL_H
#define KVIK_ENGINE_RUN_JIT_VECTOR_LEVEL_H

enum jit_vector_level { JIT_VECTOR_X87, JIT_VECTOR_SSE, JIT_VECTOR_AVX, JIT_VECTOR_AVX512,
			JIT_VECTOR_LEVELS };

#endif
