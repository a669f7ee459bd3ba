#include "engine/run/direct/policy.h"

#define PATIENCE_LEAST 16u
#define PATIENCE_MOST  4096u
/* Short stays, that one counts as: one that a system call ended, another. */
#define CALL_MOST  8u
#define OTHER_MOST 200u
#define VISITS     512u
/* How long translated, in short stays. */
#define HOLD_LEAST 5000u
#define HOLD_MOST  25000u

static void begin(struct policy *policy, enum policy_mode mode)
{
	policy->mode = mode;
	policy->stays = policy->others = 0;
	policy->ticks = 0;
}

/* It stays as it was: ask later than the last time. */
static void confirm(struct policy *policy, enum policy_mode mode)
{
	policy->patience = policy->patience ? policy->patience * 2 : PATIENCE_LEAST;
	if (policy->patience > PATIENCE_MOST)
		policy->patience = PATIENCE_MOST;
	policy->rest = policy->patience;
	begin(policy, mode);
}

static void change(struct policy *policy, enum policy_mode mode)
{
	policy->rest = policy->patience = PATIENCE_LEAST;
	begin(policy, mode);
}

static void end_window(struct policy *policy, uint64_t short_ticks)
{
	switch (policy->mode) {
	case POLICY_DIRECT:
		policy->direct = policy->ticks;
		if (policy->rest)
			policy->rest--;
		/* The window's own work is what the next is compared with. */
		begin(policy, !policy->rest && policy->others < POLICY_WINDOW / 8 &&
						      policy->direct < short_ticks * POLICY_WINDOW ?
				      POLICY_WARMS :
				      POLICY_DIRECT);
		break;
	case POLICY_WARMS: begin(policy, POLICY_TRIES); break;
	case POLICY_TRIES:
		policy->translated = policy->ticks;
		if (policy->translated < policy->direct)
			change(policy, POLICY_TRANSLATED);
		else
			confirm(policy, POLICY_DIRECT);
		break;
	case POLICY_TRANSLATED:
		/* It does something else now. */
		if (policy->ticks > policy->translated * 2)
			policy->rest = policy->patience = 0;
		policy->translated = policy->ticks;
		if (policy->rest)
			policy->rest--;
		begin(policy, policy->rest ? POLICY_TRANSLATED : POLICY_ASKS);
		break;
	case POLICY_ASKS:
		policy->direct = policy->ticks;
		if (policy->direct < policy->translated)
			change(policy, POLICY_DIRECT);
		else
			confirm(policy, POLICY_TRANSLATED);
		break;
	}
}

bool policy_visit(struct policy *policy, uint64_t now, uint64_t short_ticks)
{
	if (policy->visits == 0)
		policy->visits_began = now;
	if (++policy->visits < VISITS)
		return true;
	policy->visits = 0;
	if (now - policy->visits_began > 2 * VISITS * short_ticks) {
		policy->hold = 0;
		return true;
	}
	/* Nearly at once after the last time? */
	policy->hold = policy->visits_began - policy->held_until < HOLD_LEAST * short_ticks ? policy->hold * 2 : 0;
	if (policy->hold < HOLD_LEAST * short_ticks)
		policy->hold = HOLD_LEAST * short_ticks;
	if (policy->hold > HOLD_MOST * short_ticks)
		policy->hold = HOLD_MOST * short_ticks;
	policy->held_until = now + policy->hold;
	return false;
}

void policy_note(struct policy *policy, uint64_t ticks, uint64_t short_ticks, bool is_call)
{
	/* The host's other programs may have had the processor. */
	uint64_t most = (is_call ? CALL_MOST : OTHER_MOST) * short_ticks;

	if (ticks > most)
		ticks = most;
	if (!is_call) {
		policy->others++;
		if (policy_is_direct(policy, UINT64_MAX))
			return;
	}
	policy->stays += is_call;
	policy->ticks += ticks;
	if (policy->stays == POLICY_WINDOW) {
		end_window(policy, short_ticks);
		return;
	}
	/* What takes four times as long as directly is no question any more, nor what is not short. */
	if ((policy->mode == POLICY_WARMS || policy->mode == POLICY_TRIES) &&
	    policy->ticks > policy->direct * 4)
		confirm(policy, POLICY_DIRECT);
	else if (policy->mode == POLICY_TRANSLATED && policy->ticks > 2 * short_ticks * POLICY_WINDOW)
		change(policy, POLICY_DIRECT);
}
