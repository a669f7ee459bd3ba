#include "engine/run/direct/policy.h"

/* Crossings: how long an address space is new. */
#define NEW_MOST 1250u
#define FIRST_WINDOWS 4u
#define PATIENCE_LEAST 16u
#define PATIENCE_MOST  4096u
/* Crossings, that one stay counts as: the host's other programs may have had the processor. */
#define STAY_MOST 64u
/* What is not compared, of what is to be compared with it, at most; then of what is. */
#define WARMS_MOST 3u
/* Crossings and visits that are looked at together. */
#define CROSSINGS 2048u
#define VISITS    512u
/* Interrupts that are enough. Of a program that is there for a third of its time one in 27 are so many in a row, and for what it
 * is held then it loses little. */
#define SAMPLES 3u
/* How long translated, in crossings. */
#define HOLD_LEAST 10000u
#define HOLD_MOST  50000u
/* The part of a window that its crossings have to be, for another answer to be asked for. What they bring, such as a
 * page that is mapped, may cost some times as much as they do: but in a life of so few events a trial would hardly pay,
 * and what others like it were like says more (habit.h). */
#define SHARE	   2u
#define LONG_SHARE 8u
#define LONG	   (16 * POLICY_WINDOW)
/* Windows that a mean is of. */
#define USUAL 4u
/* Of stays that are short, one that is measured among so many. */
#define STEP 8u

static void begin(struct policy *policy, enum policy_mode mode)
{
	policy->mode = mode;
	policy->events = 0;
	policy->ticks = policy->crossings = 0;
	policy->step = policy->skipped = 0;
}

void policy_begin_direct(struct policy *policy)
{
	/* Its first pages cost more than others will. */
	policy->rest = FIRST_WINDOWS;
	begin(policy, POLICY_DIRECT);
}

void policy_continue(struct policy *policy, const struct policy *before)
{
	*policy = (struct policy){ .direct = before->direct,
				   .translated = before->translated,
				   .rest = before->rest,
				   .patience = before->patience,
				   .first = FIRST_WINDOWS };
	begin(policy, before->mode);
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

/* So many events took less time translated than their crossings alone would take. */
static bool is_hopeless(uint64_t ticks, uint64_t events, uint64_t crossing)
{
	return ticks < events * crossing;
}

/* It lives on: where? */
static void grow_up(struct policy *policy, uint64_t crossing)
{
	if (!is_hopeless(policy->lived, policy->lived_events, crossing)) {
		policy_begin_direct(policy);
		return;
	}
	policy->translated = policy->lived * POLICY_WINDOW / policy->lived_events;
	change(policy, POLICY_TRANSLATED);
}

/* The next window's, where the last one was far from a reason to ask. */
static void go_on_translated(struct policy *policy, uint64_t crossing)
{
	bool is_far = is_hopeless(policy->ticks * 2, policy->events, crossing);

	begin(policy, POLICY_TRANSLATED);
	policy->step = is_far ? STEP : 0;
}

/* Whether crossings are enough of what a window takes. A window of a compiler's in the middle of its work may have little
 * to compute, and a trial would find the next ones long: with a program that runs long, several have to say so. */
static bool is_due(struct policy *policy, uint64_t crossing)
{
	if (policy->lived_events < LONG)
		return policy->crossings * crossing * SHARE > policy->ticks;
	return policy->usual_crossings * crossing * LONG_SHARE > policy->usual_ticks;
}

/* A window more that ran directly; the last four or so count. */
static void note_usual(struct policy *policy)
{
	policy->usual_ticks += policy->ticks - policy->usual_ticks / USUAL;
	policy->usual_crossings += policy->crossings - policy->usual_crossings / USUAL;
}

static void end_window(struct policy *policy, uint64_t crossing)
{
	bool asks;

	/* Events say more. */
	policy->guarded = 0;
	if (policy->rest && (policy->mode == POLICY_DIRECT || policy->mode == POLICY_TRANSLATED))
		policy->rest--;
	switch (policy->mode) {
	case POLICY_NEW: begin(policy, POLICY_NEW); break;
	case POLICY_DIRECT:
		policy->direct = policy->ticks;
		note_usual(policy);
		asks = !policy->rest && is_due(policy, crossing);
		begin(policy, asks ? POLICY_WARMS : POLICY_DIRECT);
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
		if (policy->first) {
			policy->first--;
			begin(policy, POLICY_TRANSLATED);
			break;
		}
		/* A few that were measured are no reason for anything else. */
		if (policy->step) {
			go_on_translated(policy, crossing);
			break;
		}
		/* It does something else now. */
		if (policy->ticks > policy->translated * 2) {
			policy->rest = 0;
			policy->patience = PATIENCE_LEAST / 2;
		}
		policy->translated = policy->ticks;
		if (policy->rest || is_hopeless(policy->ticks, POLICY_WINDOW, crossing))
			go_on_translated(policy, crossing);
		else
			begin(policy, POLICY_FILLS);
		break;
	case POLICY_FILLS: begin(policy, POLICY_ASKS); break;
	case POLICY_ASKS:
		policy->direct = policy->ticks;
		if (policy->direct < policy->translated)
			change(policy, POLICY_DIRECT);
		else
			confirm(policy, POLICY_TRANSLATED);
		break;
	}
}

/* What needs no end of a window to be answered. */
static void look_early(struct policy *policy, uint64_t crossing)
{
	switch (policy->mode) {
	case POLICY_NEW:
		if (policy->lived < NEW_MOST * crossing + policy->allowance * policy->lived_events)
			break;
		grow_up(policy, crossing);
		break;
	case POLICY_WARMS:
		if (policy->ticks > policy->direct * WARMS_MOST)
			confirm(policy, POLICY_DIRECT);
		break;
	case POLICY_TRIES:
		if (policy->ticks > policy->direct)
			confirm(policy, POLICY_DIRECT);
		break;
	case POLICY_TRANSLATED:
		/* It computes. */
		if (policy->ticks > (policy->first ? 16 : 4) * crossing * POLICY_WINDOW &&
		    policy->ticks > 2 * policy->translated)
			change(policy, POLICY_DIRECT);
		break;
	case POLICY_FILLS:
		if (policy->ticks > policy->translated * WARMS_MOST)
			confirm(policy, POLICY_TRANSLATED);
		break;
	case POLICY_ASKS:
		if (policy->ticks > policy->translated)
			confirm(policy, POLICY_TRANSLATED);
		break;
	case POLICY_DIRECT: break;
	}
}

/* Directly it would not pay at present. */
static void hold(struct policy *policy, uint64_t now, uint64_t began, uint64_t crossing)
{
	/* Nearly at once after the last time? */
	policy->hold = began - policy->held_until < HOLD_LEAST * crossing ? policy->hold * 2 : 0;
	if (policy->hold < HOLD_LEAST * crossing)
		policy->hold = HOLD_LEAST * crossing;
	if (policy->hold > HOLD_MOST * crossing)
		policy->hold = HOLD_MOST * crossing;
	policy->held_until = now + policy->hold;
}

bool policy_cross(struct policy *policy, uint64_t now, uint64_t stay, uint64_t crossing)
{
	uint64_t lived = policy->lived + stay, took;

	if (policy->guarded == 0) {
		policy->guard_began = lived;
		policy->held_began = now;
	}
	if (++policy->guarded < CROSSINGS)
		return true;
	policy->guarded = 0;
	took = lived - policy->guard_began;
	/* Two thirds of the time. */
	if (took * 2 > 3 * CROSSINGS * crossing)
		return true;
	hold(policy, now, policy->held_began, crossing);
	return false;
}

bool policy_visit(struct policy *policy, uint64_t now, uint64_t crossing)
{
	if (policy->visits == 0)
		policy->visits_began = now;
	if (++policy->visits < VISITS)
		return true;
	policy->visits = 0;
	if (now - policy->visits_began > 4 * VISITS * crossing) {
		policy->hold = 0;
		return true;
	}
	hold(policy, now, policy->visits_began, crossing);
	return false;
}

bool policy_sample(struct policy *policy, uint64_t now, uint64_t crossing, bool is_dear)
{
	policy->dear = is_dear ? policy->dear + 1 : 0;
	if (policy->dear < SAMPLES)
		return true;
	policy->dear = 0;
	hold(policy, now, now, crossing);
	return false;
}

void policy_note(struct policy *policy, uint64_t ticks, uint64_t crossings, uint64_t crossing,
		 enum policy_end end)
{
	uint64_t most = STAY_MOST * crossing;
	unsigned weight = policy_weight(policy, end);

	policy->lived += ticks * weight;
	if (end == POLICY_OTHER && ticks > most * 8)
		ticks = most * 8;
	else if (end == POLICY_EVENT && ticks > most)
		ticks = most;
	if (end == POLICY_EVENT) {
		policy->events += weight;
		policy->lived_events += weight;
	}
	policy->ticks += ticks * weight;
	policy->crossings += crossings;
	if (policy->events >= POLICY_WINDOW)
		end_window(policy, crossing);
	else
		look_early(policy, crossing);
}
