/*
 * Programs' everyday work: sorting, trees, hashing, an interpreter by computed jumps, recursion,
 * longjmp, string functions at every alignment against naive ones. `structures SEED`; builds for 32
 * bits, too.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state;

static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

struct node {
	uint32_t key, priority, count;
	struct node *child[2];
};

static struct node *rotate(struct node *node, int side)
{
	struct node *child = node->child[side];

	node->child[side] = child->child[!side];
	child->child[!side] = node;
	return child;
}

static struct node *insert(struct node *node, uint32_t key)
{
	int side;

	if (!node) {
		node = calloc(1, sizeof(*node));
		node->key = key;
		node->priority = next();
		node->count = 1;
		return node;
	}
	if (node->key == key) {
		node->count++;
		return node;
	}
	side = key > node->key;
	node->child[side] = insert(node->child[side], key);
	return node->child[side]->priority > node->priority ? rotate(node, side) : node;
}

static uint32_t walk(struct node *node, uint32_t depth, uint32_t hash)
{
	if (!node)
		return hash + depth;
	hash = walk(node->child[0], depth + 1, hash) * 31 + node->key * node->count;
	hash = walk(node->child[1], depth + 1, hash);
	free(node);
	return hash;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sorting(void)
{
	enum { COUNT = 30000 };
	static uint32_t values[COUNT];
	static char texts[COUNT][12], *sorted[COUNT];
	uint32_t hash = 0;

	for (unsigned i = 0; i < COUNT; i++) {
		values[i] = next();
		snprintf(texts[i], sizeof(texts[i]), "%x", next() % 100000);
		sorted[i] = texts[i];
	}
	qsort(values, COUNT, sizeof(values[0]), by_value);
	qsort(sorted, COUNT, sizeof(sorted[0]), by_text);
	for (unsigned i = 0; i < COUNT; i++) {
		if (i && (values[i - 1] > values[i] || strcmp(sorted[i - 1], sorted[i]) > 0))
			printf("not sorted at %u\n", i);
		hash = hash * 33 + values[i] + (uint32_t)strtoul(sorted[i], NULL, 16);
	}
	printf("sorting %08x\n", hash);
}

enum { PUSH, ADD, MUL, XOR, DUP, SWAP, OVER, DEC, LOOP, CALL, RETURN, END };

static void interpreter(void)
{
	static const void *const labels[] = { &&push, &&add, &&mul, &&xor, &&dup, &&swap, &&over,
					      &&dec, &&loop, &&call, &&ret, &&end };
	/* acc n -- acc' n-1: acc' = ((acc * 3) ^ n) + f(n), f(n) = n * n + 7 */
	static const uint8_t code[] = { SWAP, PUSH, 3, MUL, OVER, XOR, OVER, CALL, 17, ADD, SWAP, DEC,
					LOOP, 0, END, 0, 0, DUP, MUL, PUSH, 7, ADD, RETURN };
	uint32_t stack[16] = { next(), 100000 }, *top = stack + 1, value;
	const uint8_t *pc = code, *calls[4], **call_top = calls;

#define NEXT goto *labels[*pc++]
	NEXT;
push: *++top = *pc++; NEXT;
add: top--; *top += top[1]; NEXT;
mul: top--; *top *= top[1]; NEXT;
xor: top--; *top ^= top[1]; NEXT;
dup: top++; *top = top[-1]; NEXT;
swap: value = *top; *top = top[-1]; top[-1] = value; NEXT;
over: top++; *top = top[-2]; NEXT;
dec: --*top; NEXT;
loop: value = *pc++; if (*top) pc = code + value; NEXT;
call: value = *pc++; *call_top++ = pc; pc = code + value; NEXT;
ret: pc = *--call_top; NEXT;
end:
	printf("interpreter %08x\n", stack[0]);
#undef NEXT
}

static uint32_t ackermann(uint32_t m, uint32_t n)
{
	return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static jmp_buf buffer;

static void jump(int depth, volatile uint32_t *trace)
{
	*trace = *trace * 7 + (uint32_t)depth;
	if (depth == 0)
		longjmp(buffer, (int)(*trace & 0xff) + 1);
	jump(depth - 1, trace);
}

static void jumps(void)
{
	volatile uint32_t trace = 1, sum = 0;

	for (volatile int i = 0; i < 3000; i++) {
		int got = setjmp(buffer);

		if (!got)
			jump(i % 20, &trace);
		sum = sum * 3 + (uint32_t)got;
	}
	printf("jumps %08x %08x\n", trace, sum);
}

static void strings(void)
{
	static unsigned char a[700], b[700], c[700];
	uint32_t hash = 0, wrong = 0;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned from = next() % 300, to = next() % 300, size = next() % 300, k;
		const unsigned char *found;

		for (k = 0; k < 16; k++)
			b[next() % sizeof(b)] = a[next() % sizeof(a)] = (unsigned char)(next() | 1);
		memcpy(c, a, sizeof(a));
		memmove(a + to, a + from, size);
		for (k = 0; k < size; k++)
			wrong += a[to + k] != c[from + k];
		for (k = 0; k < sizeof(a); k++)
			if (k < to || k >= to + size)
				wrong += a[k] != c[k];
		memcpy(b + from, a + to, size);
		wrong += memcmp(b + from, a + to, size) != 0;
		found = memchr(a + from, (int)(next() & 0xff), size);
		hash = hash * 31 + (found ? (uint32_t)(found - a) : 9999);
		b[from + size] = 0;
		for (k = 0; b[from + k]; k++)
			;
		wrong += strlen((char *)b + from) != k;
		hash += (uint32_t)(strcmp((char *)b + from, (char *)a + to) > 0);
		memset(a + from, (int)i, size / 4);
		for (k = 0; k < size / 4; k++)
			wrong += a[from + k] != (unsigned char)i;
	}
	printf("strings %08x wrong %u\n", hash, wrong);
}

static uint64_t (*volatile operations[4])(uint64_t, uint32_t);
static uint64_t op_add(uint64_t a, uint32_t b) { return a + b; }
static uint64_t op_divide(uint64_t a, uint32_t b) { return a / (b | 1) + a % (b | 1); }
static uint64_t op_shift(uint64_t a, uint32_t b) { return a << (b & 31) ^ a >> (b & 15); }
static uint64_t op_signed(uint64_t a, uint32_t b) { return (uint64_t)((int64_t)a / ((int32_t)b | 1)); }

int main(int count, char **arguments)
{
	struct node *root = NULL;
	uint64_t value;

	state = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 0) * 2654435761u | 1 : 1;
	for (unsigned i = 0; i < 30000; i++)
		root = insert(root, next() % 20000);
	printf("tree %08x\n", walk(root, 0, 0));
	sorting();
	interpreter();
	printf("ackermann %u\n", ackermann(2, 300) + ackermann(3, 5));
	jumps();
	strings();
	operations[0] = op_add;
	operations[1] = op_divide;
	operations[2] = op_shift;
	operations[3] = op_signed;
	value = next();
	for (unsigned i = 0; i < 500000; i++)
		value = operations[next() & 3](value, next()) + i;
	printf("operations %016llx\n", (unsigned long long)value);
	return 0;
}
