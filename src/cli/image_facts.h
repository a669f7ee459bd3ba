/* What an image tells of itself, as QEMU's ImageInfo has it (its qapi/block-core.json). */
#ifndef KVIK_CLI_IMAGE_FACTS_H
#define KVIK_CLI_IMAGE_FACTS_H

#include <jansson.h>

#include "block/image.h"

/* Of one image; NULL without memory. The caller's. */
json_t *image_facts(struct node *image);
/* With that of the image below as its "backing-image", and so on. */
json_t *image_facts_of_chain(struct node *image);

/* "0.10" or "1.1", of qcow2. */
const char *image_compat(const struct image_description *description);

#endif
