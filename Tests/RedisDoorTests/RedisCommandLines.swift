/// Lines whose answers a real Redis and the door are compared by, in order: each works on what those before it left.
enum RedisCommandLines {
    static let all = """
        PING
        PING hello
        PING a b
        ECHO x
        ECHO
        SELECT 0
        SELECT 99
        SELECT x
        FOO
        FOO bar baz
        GET
        GET a b
        GET a
        SET
        SET a
        SET a 1
        GET a
        SET a 2 NX
        SET b 2 NX
        SET c 3 XX
        SET b 3 XX
        GET b
        SET b 4 GET
        SET nope 4 GET
        SET b 5 XX GET
        SET b 5 NX GET
        SET b 5 NX XX
        SET b 5 EX
        SET b 5 EX x
        SET b 5 EX 0
        SET b 5 EX -1
        SET b 5 EX 10 PX 10
        SET b 5 EX 9223372036854775807
        SET b 5 FOO
        SET b 5 EX 100
        TTL b
        SET b 6 KEEPTTL
        TTL b
        GET b
        SET b 7
        TTL b
        SET b 7 PX 100000
        TTL b
        SET b 7 KEEPTTL EX 10
        SET b 7 EXAT 1
        GET b
        SET b 7 PXAT 99999999999999
        TTL missing
        PTTL missing
        SETEX d 100 x
        TTL d
        SETEX d 0 x
        SETEX d x x
        SETEX d 1
        PSETEX d 100000 y
        GET d
        PSETEX d 0 y
        SETNX d z
        SETNX e z
        GET e
        GETSET e q
        GETSET newe q
        GETSET e
        GETDEL newe
        GETDEL newe
        GETEX e
        GETEX e EX 100
        TTL e
        GETEX e PERSIST
        TTL e
        GETEX e FOO
        GETEX e EX 0
        GETEX missing EX 10
        GETEX e EX 10 PERSIST
        MGET
        MGET a e missing
        MSET
        MSET a
        MSET x 1 y
        MSET x 1 y 2
        MGET x y
        STRLEN x
        STRLEN missing
        APPEND x abc
        APPEND fresh abc
        GET x
        APPEND x
        GETRANGE x 0 -1
        GETRANGE x 1 2
        GETRANGE x -2 -1
        GETRANGE x 5 1
        GETRANGE x 0 100
        GETRANGE x -100 1
        GETRANGE x -1 -5
        GETRANGE missing 0 1
        GETRANGE x a b
        SUBSTR x 0 1
        SETRANGE x 1 ZZ
        GET x
        SETRANGE x 10 end
        STRLEN x
        SETRANGE x -1 a
        SETRANGE x a a
        SETRANGE nothing 5 ""
        EXISTS nothing
        SETRANGE x 536870912 a
        INCR n
        INCR n
        DECR n
        INCRBY n 10
        DECRBY n 3
        INCRBY n x
        INCRBY n
        DECRBY n -9223372036854775808
        INCR x
        SET big 9223372036854775807
        INCR big
        INCRBY big -1
        DECR missingn
        SET lead 012
        INCR lead
        SET sp " 12"
        INCR sp
        SET neg -5
        INCRBY neg -5
        EXISTS a
        EXISTS a a missing
        EXISTS
        TOUCH a missing
        TYPE a
        TYPE missing
        TYPE
        EXPIRE a 100
        TTL a
        EXPIRE a x
        EXPIRE a
        EXPIRE missing 10
        EXPIRE a 200 NX
        EXPIRE a 200 XX
        TTL a
        EXPIRE a 100 GT
        EXPIRE a 300 GT
        EXPIRE a 100 LT
        TTL a
        EXPIRE a 100 NX XX
        EXPIRE a 100 GT LT
        EXPIRE a 100 FOO
        PERSIST a
        PERSIST a
        TTL a
        PERSIST missing
        EXPIRE a 9223372036854775807
        PEXPIRE a 100000
        TTL a
        EXPIREAT a 99999999999
        PEXPIREAT a 1
        GET a
        EXPIRE b -1
        EXISTS b
        SET b 1
        PEXPIREAT b -8000000000000
        EXISTS b
        SET b 1
        EXPIRE b -10000000000
        EXISTS b
        DEL
        DEL x y missing
        DEL x
        UNLINK d d e
        MULTI
        MULTI
        SET t 1
        INCR t
        GET t
        EXEC
        EXEC
        DISCARD
        MULTI
        SET t 5
        DISCARD
        GET t
        MULTI
        FOO
        SET t 9
        EXEC
        GET t
        MULTI
        GET
        EXEC
        MULTI
        SET s abc
        INCR s
        GET s
        EXEC
        WATCH
        WATCH t
        MULTI
        INCR t
        EXEC
        WATCH t
        SET t 100
        MULTI
        INCR t
        EXEC
        GET t
        WATCH t
        UNWATCH
        SET t 1
        MULTI
        WATCH t
        EXEC
        HSET h
        HSET h a
        HSET h a 1 b
        HSET h a 1 b 2
        SET h 1 EX 100
        GETDEL h
        TYPE h
        HSET h a 1 b 2
        SETEX h 100 1
        GETDEL h
        TYPE h
        HSET h a 1 b 2
        MSET h 1 x 2
        GETDEL h
        TYPE h
        DEL x
        HSET h a 1 b 2
        SET h 1 PXAT 1
        TYPE h
        HSET h a 1 b 2
        HSET h a 3 c 4
        HGET h a
        HGET h missing
        HGET missing a
        HMGET h a missing b
        HLEN h
        HLEN missing
        HEXISTS h a
        HEXISTS h q
        HSETNX h a 9
        HSETNX h z 9
        HINCRBY h n 5
        HINCRBY h n -7
        HINCRBY h n x
        HSET h word x
        HINCRBY h word 1
        HDEL h word
        HDEL h a a missing
        HDEL missing a
        HKEYS missing
        HGETALL missing
        HMSET h2 a 1
        HGETALL h2
        HKEYS h2
        HVALS h2
        HSCAN h2 0
        HSCAN h2 0 MATCH q*
        HSCAN h2 x
        HSCAN h2 0 COUNT 0
        TYPE h2
        GET h2
        INCR h2
        STRLEN h2
        APPEND h2 x
        SET str x
        HSET str a 1
        HGET str a
        HGETALL str
        EXISTS h2
        TTL h2
        DEL h2
        TYPE h2
        SET h plain
        TYPE h
        FLUSHDB
        DBSIZE
        SET only 1
        SCAN 0
        SCAN 0 MATCH o*
        SCAN 0 MATCH q*
        SCAN 0 COUNT 0
        SCAN 0 COUNT x
        SCAN 0 TYPE hash
        SCAN x
        SCAN
        KEYS *
        KEYS o?l[y]
        KEYS q
        KEYS
        DBSIZE
        CLIENT GETNAME
        CLIENT SETNAME me
        CLIENT GETNAME
        CLIENT SETNAME
        CLIENT FOO
        CLIENT
        CLIENT NO-EVICT on
        CLIENT NO-EVICT x
        CLIENT CACHING YES
        CLIENT TRACKING ON PREFIX a
        CLIENT TRACKING ON BCAST OPTIN
        CLIENT TRACKING ON OPTIN OPTOUT
        CLIENT TRACKING x
        CLIENT TRACKING ON OPTIN
        CLIENT CACHING NO
        CLIENT CACHING YES
        CLIENT TRACKING ON BCAST
        CLIENT TRACKING OFF
        CLIENT TRACKING ON BCAST PREFIX a PREFIX ab
        CLIENT TRACKING OFF
        CLIENT MAINT_NOTIFICATIONS ON
        AUTH
        AUTH x
        HELLO 4
        HELLO x
        HELLO 2 FOO
        CONFIG GET save
        CONFIG GET appendonly
        CONFIG GET
        CONFIG FOO
        COMMAND FOO
        COMMAND COUNT x
        FLUSHDB FOO
        FLUSHALL
        LPUSH2 a b
        RESET
        QUIT
        """.split(separator: "\n").map(String.init)
}
