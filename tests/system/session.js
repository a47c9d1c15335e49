// A session over every type with a client of Node: node session.js PORT. Exit status 0 if all answers were right.
"use strict";

const assert = require("node:assert/strict");
const { Redis } = require("ioredis");

async function session(port) {
  const redis = new Redis({ port, host: "127.0.0.1", retryStrategy: null });
  const other = redis.duplicate();
  try {
    assert.equal(await redis.flushall(), "OK");

    assert.equal(await redis.set("string", "value", "EX", 1000), "OK");
    assert.equal(await redis.get("string"), "value");
    assert.ok((await redis.ttl("string")) > 990);
    assert.equal(await redis.incrby("count", 5), 5);
    assert.equal(await redis.incrbyfloat("float", "0.1"), "0.1");
    assert.deepEqual(await redis.getBuffer("nothing"), null);
    const bytes = Buffer.from([0, 255, 13, 10]);
    await redis.set(bytes, bytes);
    assert.deepEqual(await redis.getBuffer(bytes), bytes);

    assert.equal(await redis.hset("hash", { a: "1", b: "2" }), 2);
    assert.deepEqual(await redis.hgetall("hash"), { a: "1", b: "2" });

    assert.equal(await redis.rpush("list", "a", "b", "c"), 3);
    assert.deepEqual(await redis.lrange("list", 0, -1), ["a", "b", "c"]);
    assert.deepEqual(await redis.lmpop(1, "list", "LEFT", "COUNT", 2), ["list", ["a", "b"]]);

    assert.equal(await redis.sadd("set", "a", "b"), 2);
    assert.deepEqual((await redis.smembers("set")).sort(), ["a", "b"]);

    assert.equal(await redis.zadd("zset", 1, "one", "2.5", "more"), 2);
    assert.deepEqual(await redis.zrange("zset", 0, -1, "WITHSCORES"), ["one", "1", "more", "2.5"]);

    assert.deepEqual(await redis.multi().incr("count").lpop("list").exec(), [[null, 6], [null, "c"]]);
    await assert.rejects(redis.incr("hash"), /WRONGTYPE/);

    const answers = await redis.pipeline(Array.from({ length: 500 }, (_, n) => ["set", `key:${n}`, `${n}`])).exec();
    assert.ok(answers.every(([error, answer]) => error === null && answer === "OK"));
    let scanned = 0;
    for await (const keys of redis.scanStream({ match: "key:*", count: 100 })) scanned += keys.length;
    assert.equal(scanned, 500);

    const popped = other.blpop("queue", 10);
    await redis.rpush("queue", "element");
    assert.deepEqual(await popped, ["queue", "element"]);

    const dumped = await redis.dumpBuffer("zset");
    assert.equal(await redis.restore("copy", 0, dumped), "OK");
    assert.equal(await redis.zscore("copy", "more"), "2.5");

    await redis.select(3);
    assert.equal(await redis.dbsize(), 0);
  } finally {
    redis.disconnect();
    other.disconnect();
  }
}

session(Number(process.argv[2])).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
