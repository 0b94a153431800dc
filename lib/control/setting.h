/* setting.h - changing an option of the running process. See setting.c. */
#ifndef GY_CONTROL_SETTING_H
#define GY_CONTROL_SETTING_H

#include "base/config.h"
#include "control/control_page.h"

/* gy_config_set, and what the change brings with it. */
int gy_setting_change(enum gy_option_id id, uint64_t value);
/* Carries out what is asked for in the control page, if anything is (CTL-8). [lock: control] */
void gy_setting_take(struct gyre_control_setting *setting);

#endif
