/*
 * A 9P message that is being answered, for the files that answer: p9_names.c, p9_attributes.c, ... In their comments
 * messages are as in Plan 9's manual: name[2] is a number of two bytes, the lowest first, name[s] a string, which is
 * a length of two bytes and that many bytes.
 */
#ifndef KVIK_SHARE_P9_CALL_H
#define KVIK_SHARE_P9_CALL_H

#include "share/p9.h"

#define P9_NO_FID	~0u
#define P9_REPLY_BYTES 11 /* of an Rread or Rreaddir before the data: header and count[4] */

enum p9_type { /* of requests; a reply's is one more */
	P9_LERROR = 6, /* has a reply only */
	P9_STATFS = 8,
	P9_LOPEN = 12,
	P9_LCREATE = 14,
	P9_SYMLINK = 16,
	P9_MKNOD = 18,
	P9_RENAME = 20,
	P9_READLINK = 22,
	P9_GETATTR = 24,
	P9_SETATTR = 26,
	P9_XATTRWALK = 30,
	P9_XATTRCREATE = 32,
	P9_READDIR = 40,
	P9_FSYNC = 50,
	P9_LOCK = 52,
	P9_GETLOCK = 54,
	P9_LINK = 70,
	P9_MKDIR = 72,
	P9_RENAMEAT = 74,
	P9_UNLINKAT = 76,
	P9_VERSION = 100,
	P9_ATTACH = 104,
	P9_FLUSH = 108,
	P9_WALK = 110,
	P9_READ = 116,
	P9_WRITE = 118,
	P9_CLUNK = 120,
	P9_REMOVE = 122,
	P9_TYPES = 128,
};

enum p9_fid_kind { P9_FILE, P9_XATTR_READ, P9_XATTR_WRITE };

/* A name of the peer's for a file, or for an extended attribute's value while it is read or written. */
struct p9_fid {
	uint32_t number;
	enum p9_fid_kind kind;
	struct share_node *node; /* told of to the peer once */
	uint32_t user;	 /* who has attached it, or what it came from */
	bool is_open;
	uint64_t opening; /* its number, if it is open */
	/* An attribute's: */
	char *name;
	uint8_t *value;
	uint32_t value_size, filled;
	uint32_t flags; /* setxattr(2)'s */
	struct p9_fid *next; /* in its bucket */
};

struct p9_call {
	struct p9 *p9;
	/* The message's body: our own copy. */
	uint8_t *in;
	size_t size, at;
	bool is_malformed; /* it ends too early, or a string is none */
	/* A write's data stays where it came. */
	const uint8_t *data;
	size_t data_size;
	/* The reply's body. */
	uint8_t *out;
	size_t room, out_size;
};

/* The answers: 0, or -errno. */
int p9_walk(struct p9_call *call);
int p9_symlink(struct p9_call *call);
int p9_mknod(struct p9_call *call);
int p9_mkdir(struct p9_call *call);
int p9_link(struct p9_call *call);
int p9_rename(struct p9_call *call);
int p9_renameat(struct p9_call *call);
int p9_unlinkat(struct p9_call *call);
int p9_remove(struct p9_call *call);
int p9_readlink(struct p9_call *call);

int p9_lopen(struct p9_call *call);
int p9_lcreate(struct p9_call *call);
int p9_read(struct p9_call *call);
int p9_write(struct p9_call *call);
int p9_fsync(struct p9_call *call);
int p9_readdir(struct p9_call *call);
int p9_lock(struct p9_call *call);
int p9_getlock(struct p9_call *call);

int p9_getattr(struct p9_call *call);
int p9_setattr(struct p9_call *call);
int p9_statfs(struct p9_call *call);
int p9_xattrwalk(struct p9_call *call);
int p9_xattrcreate(struct p9_call *call);
/* An attribute was written whole, or not: carry it out. */
int p9_end_xattr(struct p9 *p9, struct p9_fid *fid);

/* --- fields of messages: what is behind the end is 0 or "", and makes the message malformed --- */

uint8_t p9_u8(struct p9_call *call);
uint16_t p9_u16(struct p9_call *call);
uint32_t p9_u32(struct p9_call *call);
uint64_t p9_u64(struct p9_call *call);
/* In the copy of the message, with a NUL behind. One with a NUL in it is malformed. */
const char *p9_string(struct p9_call *call);

/* To the reply. Without room the reply is cut and the call fails. */
void p9_put_u8(struct p9_call *call, uint8_t value);
void p9_put_u16(struct p9_call *call, uint16_t value);
void p9_put_u32(struct p9_call *call, uint32_t value);
void p9_put_u64(struct p9_call *call, uint64_t value);
void p9_put_string(struct p9_call *call, const char *text, size_t length);
/* What identifies a file, and tells its kind: type[1] version[4] path[8]. */
void p9_put_qid(struct p9_call *call, mode_t mode, uint32_t version, uint64_t path);
void p9_put_file(struct p9_call *call, const struct fuse_attr *attributes);

/* --- file identifiers --- */

struct p9_fid *p9_fid_find(struct p9 *p9, uint32_t number);
/* The one that the next field of the message names; NULL: there is none. */
struct p9_fid *p9_fid_of(struct p9_call *call);
/* A new one for a node, which the peer has been told of for it; on failure it is forgotten again. NULL: no memory,
 * too many, or the number is in use. */
struct p9_fid *p9_fid_create(struct p9 *p9, uint32_t number, struct share_node *node, uint32_t user);
void p9_fid_destroy(struct p9 *p9, struct p9_fid *fid);
void p9_fid_destroy_all(struct p9 *p9);

/* --- requests of FUSE's --- */

struct p9_ask {
	enum fuse_opcode opcode;
	struct share_node *node;
	const void *in; /* its struct */
	size_t in_size;
	const char *names[2]; /* behind that; NULL: none */
	const void *data; /* what is written, or an attribute's value */
	size_t data_size;
	void *out;
	size_t room;
	uint32_t user, group; /* whose it will be that is made */
};

/* How many bytes are in `out`, or -errno. */
ssize_t p9_ask(struct p9 *p9, const struct p9_ask *ask);
/* What a node is now. 0 or -errno. */
int p9_status(struct p9 *p9, struct share_node *node, struct fuse_attr *attributes);
/* Look a name up; the peer is told of the node. 0 or -errno. */
int p9_look_up(struct p9 *p9, struct share_node *parent, const char *name, struct share_node **node,
	       struct fuse_attr *attributes);
/* A node of which FUSE has told, to be forgotten at once: the reply has no fid for it. */
void p9_forget(struct p9 *p9, uint64_t number);

#endif
