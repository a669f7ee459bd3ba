/*
 * The user's terminal: raw while a guest has it, as it was on every way out.
 *
 * There is one terminal in a process, so its saved state is global. terminal_restore is
 * async-signal-safe; it may be called at any time, any number of times, on any thread.
 */
#ifndef KVIK_DEVICE_CHAR_TERMINAL_H
#define KVIK_DEVICE_CHAR_TERMINAL_H

#include <stdbool.h>

/*
 * Put standard input into raw mode if it is a terminal and this process is in its foreground (a
 * background job must not take it). Remembers the first state it saw and has atexit(3) and
 * handlers for the crash signals bring it back. With `keeps_signals`, ^C and the like are still
 * signals to the process. Returns whether the terminal is raw now.
 */
bool terminal_enter_raw(bool keeps_signals);
/* The same as the last time, after terminal_restore. */
bool terminal_enter_raw_again(void);
void terminal_restore(void);

#endif
