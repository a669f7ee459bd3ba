#include "engine/x86/decode/insn_rules.h"

#include "engine/x86/host/host.h"

struct insn_rules insn_host_rules;

__attribute__((constructor)) static void find_host_rules(void)
{
	insn_host_rules = (struct insn_rules){
		.has_lzcnt = host_has(HOST_LZCNT),
		.has_tzcnt = host_has(HOST_BMI1),
		.is_amd = host.is_amd,
	};
}
