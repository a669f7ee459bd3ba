#include "engine/x86/decode/register.h"

struct register_name register_names[ZYDIS_REGISTER_MAX_VALUE + 1];

__attribute__((constructor)) static void register_init(void)
{
	for (unsigned i = 0; i <= ZYDIS_REGISTER_MAX_VALUE; i++) {
		struct register_name *name = &register_names[i];
		ZydisRegister reg = (ZydisRegister)i;

		name->class = (uint8_t)ZydisRegisterGetClass(reg);
		name->number = ZydisRegisterGetId(reg);
		name->general = -1;
		switch (name->class) {
		case ZYDIS_REGCLASS_GPR8:
			/* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B...: the third four are bytes 0
			 * of the registers whose bytes 1 the second four are. */
			reg -= ZYDIS_REGISTER_AL;
			name->is_high = reg >= 4 && reg < 8;
			name->general = (int8_t)(reg < 4 ? reg : reg - 4);
			if (name->is_high)
				name->general = (int8_t)(reg - 4);
			break;
		case ZYDIS_REGCLASS_GPR16:
		case ZYDIS_REGCLASS_GPR32:
		case ZYDIS_REGCLASS_GPR64: name->general = name->number; break;
		default: break;
		}
		if (name->general >= 0)
			name->offset = (uint8_t)(name->general * 8 + name->is_high);
	}
}
