/* A module that writes through the key API, by a command that the server does not know as a write. */

#include <stddef.h>

typedef struct ctx ctx;
typedef struct string string;
typedef struct key key;

static int (*set_attributes)(ctx *, const char *, int, int);
static int (*create_command)(ctx *, const char *, int (*)(ctx *, string **, int), const char *, int, int, int);
static key *(*open_key)(ctx *, string *, int);
static void (*close_key)(key *);
static int (*string_set)(key *, string *);
static int (*delete_key)(key *);
static int (*notify)(ctx *, int, const char *, string *);
static int (*replicate_verbatim)(ctx *);
static int (*reply_ok)(ctx *, const char *);

enum { GENERIC = 1 << 2, STRING = 1 << 3, READ = 1, WRITE = 2 };

static int set(ctx *c, string **argv, int argc) {
    (void)argc;
    key *k = open_key(c, argv[1], READ | WRITE);
    string_set(k, argv[2]);
    close_key(k);
    notify(c, STRING, "other.set", argv[1]);
    replicate_verbatim(c);
    return reply_ok(c, "OK");
}

static int removal(ctx *c, string **argv, int argc) {
    (void)argc;
    key *k = open_key(c, argv[1], READ | WRITE);
    delete_key(k);
    close_key(k);
    notify(c, GENERIC, "other.del", argv[1]);
    replicate_verbatim(c);
    return reply_ok(c, "OK");
}

int RedisModule_OnLoad(ctx *c, string **argv, int argc) {
    (void)argv;
    (void)argc;
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))c;
    get_api("RedisModule_SetModuleAttribs", &set_attributes);
    get_api("RedisModule_CreateCommand", &create_command);
    get_api("RedisModule_OpenKey", &open_key);
    get_api("RedisModule_CloseKey", &close_key);
    get_api("RedisModule_StringSet", &string_set);
    get_api("RedisModule_DeleteKey", &delete_key);
    get_api("RedisModule_NotifyKeyspaceEvent", &notify);
    get_api("RedisModule_ReplicateVerbatim", &replicate_verbatim);
    get_api("RedisModule_ReplyWithSimpleString", &reply_ok);
    set_attributes(c, "other", 1, 1);
    create_command(c, "other.set", set, "", 1, 1, 1);
    return create_command(c, "other.del", removal, "", 1, 1, 1);
}
