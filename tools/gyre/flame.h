/* flame.h - a profile as a flame graph: one SVG file that needs nothing else.
 *
 *      ┌ leaf ┐┌───── leaf ─────┐
 *      ├─── function called ────┴──┐        width: what is allocated below a function
 *      ├────────── main ───────────┴┐       height: depth of the stack; the program's start below
 *
 * Opened in a browser a click zooms into a frame, Esc or "all" goes back, a field searches, the
 * pointer tells a frame's numbers. As a plain picture it shows the whole, with the names that fit.
 *
 * FLAME-1  Names come from the process that is looked at: in the file they are only ever text
 *          (never part of a script, an attribute or a tag), and only what XML allows.
 * FLAME-2  Same profile, same bytes: frames stand in the order of their names, colours come from
 *          names, and no time stands in the file.
 */
#ifndef GYRE_TOOLS_FLAME_H
#define GYRE_TOOLS_FLAME_H

#include <stdio.h>

#include "profile_functions.h"

/* gy_flame_make - the file, a string to be freed; or NULL.
 * @title  stands above; @type  which value is drawn */
char *gy_flame_make(const struct gy_profile *profile, const struct gy_profile_functions *functions,
		    size_t type, const char *title);

/* gy_svg_text - text of a process's in an SVG (FLAME-1). */
void gy_svg_text(FILE *out, const char *text);

/* flame_script.c */
extern const char gy_flame_style[], gy_flame_script[];

#endif
