#include "engine/x86/decode/rules_copy.h"

#include "engine/x86/bytes.h"

void rules_copy_take(struct rules_copy *copy, const struct insn_rules *rules)
{
	*copy = (struct rules_copy){
		.has_features = rules->features,
		.has_lzcnt = rules->has_lzcnt,
		.has_tzcnt = rules->has_tzcnt,
		.is_amd = rules->is_amd,
	};
	if (rules->features)
		bytes_copy(copy->features, rules->features, sizeof(copy->features));
}

bool rules_copy_is(const struct rules_copy *a, const struct rules_copy *b)
{
	return a->has_features == b->has_features && a->has_lzcnt == b->has_lzcnt && a->has_tzcnt == b->has_tzcnt &&
	       a->is_amd == b->is_amd && bytes_equal(a->features, b->features, sizeof(a->features));
}
