/* leak_deaths.h - how old sampled blocks become: the process's probe free_sample, listened to.
 *
 * One hit for each sample that is freed, that is for every half MiB of frees or so: nothing that
 * the process could notice. Without the rights to attach there is none, and no complaint: survival
 * then has a lower bound instead (GROWTH-2).
 *
 * DEATHS-1  As of any session, what is attached belongs to file descriptors (SES-1).
 */
#ifndef GYRE_TOOLS_LEAK_DEATHS_H
#define GYRE_TOOLS_LEAK_DEATHS_H

#include "leak_growth.h"

struct gy_leak_deaths;

/* gy_leak_deaths_open - NULL where it may not be, or cannot be. */
struct gy_leak_deaths *gy_leak_deaths_open(struct gy_leak_growth *growth);
void gy_leak_deaths_close(struct gy_leak_deaths *deaths);
/* gy_leak_deaths_take - hand over what came since (gy_leak_growth_died). NULL will do. */
void gy_leak_deaths_take(struct gy_leak_deaths *deaths);

#endif
