#include "monitor/hmp_words.h"

#include <stddef.h>
#include <string.h>

#define BLANKS " \t\r\n"

/* What stands behind a backslash, and for what. */
static const char escapes[] = "nr\\'\"", escaped[] = "\n\r\\'\"";

static char unescape(char letter)
{
	const char *found = letter ? strchr(escapes, letter) : NULL;

	return found ? escaped[found - escapes] : 0;
}

char *hmp_word(char **at)
{
	char *word = *at + strspn(*at, BLANKS), *from, *to;
	size_t length = strcspn(word, BLANKS);

	if (!length) {
		*at = word;
		return NULL;
	}
	if (*word != '"') {
		*at = word + length + (word[length] != 0);
		word[length] = 0;
		return word;
	}
	for (from = word + 1, to = word; *from && *from != '"'; from++) {
		if (*from == '\\' && unescape(from[1]))
			*to++ = unescape(*++from);
		else
			*to++ = *from;
	}
	*at = from + (*from != 0);
	*to = 0;
	return word;
}

char *hmp_rest(char *at)
{
	size_t length;
	char *word;

	at += strspn(at, BLANKS);
	if (*at == '"' && (word = hmp_word(&at)))
		return word;
	length = strlen(at);
	while (length && strchr(BLANKS, at[length - 1]))
		length--;
	at[length] = 0;
	return at;
}

unsigned hmp_split(char *at, char **words, unsigned max)
{
	unsigned count;
	char *word;

	for (count = 0; (word = hmp_word(&at)); count++)
		if (count < max)
			words[count] = word;
	return count;
}

const char *hmp_find_bad_quotes(const char *words)
{
	for (words += strspn(words, BLANKS); *words; words += strspn(words, BLANKS)) {
		/* The shell's, with quotes of its own. */
		if (strncmp(words, "exec:", 5) == 0)
			return NULL;
		if (*words != '"') {
			words += strcspn(words, BLANKS);
			continue;
		}
		for (words++; *words && *words != '"'; words++)
			if (*words == '\\' && !unescape(*++words))
				return "behind \\ in quotes comes one of n r \\ ' \"";
		if (!*words++)
			return "a quote is not closed";
	}
	return NULL;
}
