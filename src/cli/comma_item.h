/* Options that are lists of items between commas, as QEMU writes them: a doubled comma stands for one. */
#ifndef KVIK_CLI_COMMA_ITEM_H
#define KVIK_CLI_COMMA_ITEM_H

/*
 * Cut the next item off `*text`, in place: up to a comma that isn't doubled, and doubled ones made single. `*text`
 * is behind it then, or NULL: there is no more. NULL if it was NULL.
 */
char *comma_item_take(char **text);

#endif
