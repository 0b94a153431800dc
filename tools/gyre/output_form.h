/* output_form.h - what form a profile is given in, and what a file's name says of it. */
#ifndef GYRE_TOOLS_OUTPUT_FORM_H
#define GYRE_TOOLS_OUTPUT_FORM_H

enum gy_form { FORM_UNSET, FORM_TEXT, FORM_PPROF, FORM_FOLDED, FORM_JSON, FORM_FLAME };

/* Each form's name, as the word behind 'format' is spelt; FORM_UNSET has none. */
extern const char *const gy_form_names[];

/* gy_form_by_path - what the end of the name says; FORM_UNSET where it says nothing. */
enum gy_form gy_form_by_path(const char *path);

#endif
