#include "engine/run/direct/habit.h"

#include "engine/x86/bytes.h"

/* Events that say something. */
#define EVENTS_LEAST 16u
/* Lives. */
#define FIRST_LIVES    2u
#define WARM_LIVES     3u
#define ASKING_MOST    16u /* ... until one is given up whose end nobody has told */
#define PATIENCE_LEAST 16u
#define PATIENCE_MOST  1024u

static bool is_better_translated(const struct habit *habit)
{
	return habit->translated && habit->translated < habit->direct;
}

static enum habit_life begin_translated(const struct habit *habit, struct policy *policy, enum habit_life life)
{
	/* Something else than before, or a hopeless trial: then directly after all. */
	policy->allowance = 2 * habit->direct;
	return life;
}

static enum habit_life begin_direct(struct policy *policy)
{
	policy_begin_direct(policy);
	return HABIT_DIRECT;
}

/* Whether the life that begins asks the dearer tier. */
static bool asks(struct habit *habit)
{
	if (!habit->trial)
		return false;
	if (habit->asking && habit->asking++ < ASKING_MOST)
		return false;
	habit->asking = 1;
	return true;
}

enum habit_life habit_begin(struct habit *habit, bool lives_long, struct policy *policy)
{
	if (habit->settled.patience) {
		policy_continue(policy, &habit->settled);
		return HABIT_FREE;
	}
	if (!habit->direct)
		return lives_long ? begin_direct(policy) : HABIT_FREE;
	if (!habit->trial && --habit->rest == 0)
		habit->trial = is_better_translated(habit) ? 1 : WARM_LIVES + 1;
	if (is_better_translated(habit))
		return asks(habit) ? begin_direct(policy) : begin_translated(habit, policy, HABIT_TRANSLATED);
	if (asks(habit))
		return begin_translated(habit, policy, habit->trial > 1 ? HABIT_WARMS : HABIT_TRANSLATED);
	return begin_direct(policy);
}

/* One life says little: the host's other programs may have had the processor meanwhile. */
static void take(uint64_t *mean, uint64_t value)
{
	if (*mean && value > *mean / 2 * 3)
		value = *mean / 2 * 3;
	*mean = *mean ? (*mean + value) / 2 : value;
}

static void end_trial(struct habit *habit, bool was_better_translated)
{
	if (!habit->trial)
		return;
	habit->trial = 0;
	habit->patience *= 2;
	if (is_better_translated(habit) != was_better_translated || !habit->patience)
		habit->patience = PATIENCE_LEAST;
	if (habit->patience > PATIENCE_MOST)
		habit->patience = PATIENCE_MOST;
	habit->rest = habit->patience;
}

void habit_end(struct habit *habit, enum habit_life life, const struct policy *policy, uint64_t direct,
	       uint64_t translated)
{
	bool was_better_translated = is_better_translated(habit);
	uint64_t value;

	if (life != HABIT_FREE && (life == HABIT_DIRECT) == was_better_translated)
		habit->asking = 0;
	if (policy->patience && (policy->mode == POLICY_DIRECT || policy->mode == POLICY_TRANSLATED)) {
		bytes_copy(&habit->settled, policy, sizeof(*policy));
		return;
	}
	if (life == HABIT_FREE || policy->lived_events < EVENTS_LEAST)
		return;
	value = policy->lived / policy->lived_events;
	if (life == HABIT_DIRECT) {
		/* Some stays may have been translated for a reason of their own. */
		if (direct / 8 < translated)
			return;
		if (!habit->direct)
			habit->rest = FIRST_LIVES;
		take(&habit->direct, value);
		if (was_better_translated)
			end_trial(habit, true);
		return;
	}
	if (direct) {
		/* It was given up. */
		habit->translated = habit->direct * 2;
	} else if (life == HABIT_WARMS) {
		if (habit->trial > 1)
			habit->trial--;
		return;
	} else {
		take(&habit->translated, value);
	}
	if (!was_better_translated)
		end_trial(habit, false);
}
