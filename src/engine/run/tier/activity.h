/* What a CPU spends its time on while it executes (engine/activity.h). */
#ifndef KVIK_ENGINE_RUN_TIER_ACTIVITY_H
#define KVIK_ENGINE_RUN_TIER_ACTIVITY_H

#include "engine/activity.h"

enum cpu_activity {
	CPU_DISPATCHES = ACTIVITY_DISPATCH,
	CPU_INTERPRETS = ACTIVITIES_COMMON,
	CPU_TRANSLATES,
	CPU_RUNS_TRANSLATION,
	CPU_FALLS_BACK,      /* an instruction of translated code, interpreted */
	CPU_RUNS_DIRECT,     /* its stub has the processor */
	CPU_ACTIVITIES,
};
_Static_assert(CPU_ACTIVITIES <= ACTIVITIES_MAX, "activity.h");

#endif
