/* The words of a human's line, as QEMU's monitor has them: "..." is one word, in which \n \r \\ \' and \" stand for a
 * character. The monitor takes them so, and so does who opens the files that a line names. */
#ifndef KVIK_MONITOR_HMP_WORDS_H
#define KVIK_MONITOR_HMP_WORDS_H

/* The next word, cut off and without its quotes, in place; NULL: there is none. */
char *hmp_word(char **at);
/* All that is left as one word, which may hold blanks: a command of exec:, an option's words. "": nothing is left. */
char *hmp_rest(char *at);
/* All words, of which `max` are kept: how many there are. */
unsigned hmp_split(char *at, char **words, unsigned max);
/* What is wrong with the quotes of words that are not cut yet, for a person; NULL: nothing. */
const char *hmp_find_bad_quotes(const char *words);

#endif
