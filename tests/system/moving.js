// Sessions of Node's client that go on while regions are split and led elsewhere; see moving.py.
// node moving.js KIND PORT NUMBER SECONDS MANY, where KIND is plain or cluster.
"use strict";

const assert = require("node:assert/strict");
const { setTimeout: after } = require("node:timers/promises");
const { Cluster, Redis } = require("ioredis");

const LIFE_MS = 60;
const EXPIRED_MS = 100;
const PUSH_MS = 30;
const ATTEMPTS = 20;

const figures = { rounds: 0, "answers compared": 0, "transactions begun again": 0 };

function expect(got, wanted, about) {
  figures["answers compared"] += 1;
  assert.deepEqual(got, wanted, `${about}: ${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}

async function round(client, other, key, clustered, many) {
  const times = many / 10;
  for (let number = 0; number < times; number++) {
    const [string, count, hash, list, set, zset] = ["string", "count", "hash", "list", "set", "zset"].map((name) => key(name, number));
    expect(await client.set(string, "value", "EX", 1000), "OK", string);
    expect(await client.get(string), "value", string);
    assert.ok((await client.ttl(string)) > 990);
    for (let amount = 1; amount < 6; amount++) expect(await client.incr(count), amount, count);
    expect(await client.hset(hash, { a: "1", b: "2" }), 2, hash);
    expect(await client.hgetall(hash), { a: "1", b: "2" }, hash);
    expect(await client.rpush(list, "a", "b", "c"), 3, list);
    expect(await client.lrange(list, 0, -1), ["a", "b", "c"], list);
    expect(await client.lpop(list), "a", list);
    expect(await client.sadd(set, "a", "b"), 2, set);
    expect((await client.smembers(set)).sort(), ["a", "b"], set);
    expect(await client.zadd(zset, 1, "one", "2.5", "more"), 2, zset);
    expect(await client.zrange(zset, 0, -1, "WITHSCORES"), ["one", "1", "more", "2.5"], zset);
  }

  expect(await client.set(key("short", 0), "x", "PX", LIFE_MS), "OK", "short");
  await after(EXPIRED_MS);
  expect(await client.get(key("short", 0)), null, "short");

  for (let number = 0; number < times; number++) {
    const [total, log] = [key("total", number), key("log", number)];
    for (let turn = 1; turn < 4; turn++) {
      expect(await client.multi().incr(total).rpush(log, turn).exec(), [[null, turn], [null, turn]], total);
    }
  }

  for (let number = 0; number < times; number++) {
    const piped = ["a", "b", "c"].map((name) => key(name, number));
    for (let turn = 1; turn < 4; turn++) {
      // Those of a cluster have keys of one slot.
      const answers = await client.pipeline(piped.flatMap((one) => [["incr", one], ["get", one]])).exec();
      expect(answers, piped.flatMap(() => [[null, turn], [null, `${turn}`]]), piped[0]);
    }
  }
  const counts = Array.from({ length: many }, (_, number) => key("at once", number));
  for (let turn = 1; turn < 4; turn++) {
    expect(await Promise.all(counts.map((one) => client.incr(one))), counts.map(() => turn), "at once");
  }

  for (let number = 0; number < times; number++) {
    const queue = key("queue", number);
    const popped = other.blpop(queue, 30);
    await after(PUSH_MS);
    expect(await client.rpush(queue, "element"), 1, queue);
    expect(await popped, [queue, "element"], queue);
  }
  expect(await other.blpop(key("queue", 0), 0.05), null, "queue");

  const keys = Array.from({ length: many }, (_, number) => key("all", number));
  if (clustered) {
    for (const one of keys) expect(await client.set(one, "x"), "OK", one);
    expect(await Promise.all(keys.map((one) => client.get(one))), keys.map(() => "x"), "all");
    for (const node of client.nodes("master")) {
      assert.ok((await node.dbsize()) >= 0);
      for await (const some of node.scanStream({ match: "*:all", count: 100 })) figures["answers compared"] += some.length ? 1 : 0;
    }
    expect(await Promise.all(keys.map((one) => client.del(one))), keys.map(() => 1), "all");
    return;
  }

  for (let number = 0; number < times; number++) {
    const watched = key("watched", number);
    for (let turn = 0; turn < 3; turn++) {
      for (let attempt = 0; ; attempt++) {
        assert.ok(attempt < ATTEMPTS, `${watched}: a transaction was refused ${ATTEMPTS} times`);
        await client.watch(watched);
        expect(Number(await client.get(watched)), turn, watched);
        if ((await client.multi().set(watched, turn + 1).exec()) !== null) break;
        figures["transactions begun again"] += 1;
      }
    }
    await client.watch(watched);
    expect(await other.incr(watched), 4, watched);
    expect(await client.multi().set(watched, 100).exec(), null, watched);
    expect(await client.get(watched), "4", watched);
  }

  expect(await client.flushdb(), "OK", "flushdb");
  expect(await client.dbsize(), 0, "dbsize");
  for (const [place, one] of keys.entries()) expect(await client.set(one, `${place}`), "OK", one);
  expect(await client.dbsize(), many, "dbsize");
  expect(await client.mget(...keys), keys.map((_, place) => `${place}`), "mget");
  const found = new Set();
  for await (const some of client.scanStream({ count: 7 })) some.forEach((one) => found.add(one));
  expect([...found].sort(), [...keys].sort(), "scan");
  expect(await client.del(...keys.slice(0, many / 2)), many / 2, "del");
  expect(await client.unlink(...keys), many / 2, "unlink");
  expect(await client.dbsize(), 0, "dbsize");
}

async function session(kind, port, number, seconds, many) {
  const clustered = kind === "cluster";
  const connect = () => clustered ? new Cluster([{ port, host: "127.0.0.1" }]) : new Redis({ port, host: "127.0.0.1", db: number });
  const client = connect();
  const other = connect();
  const end = Date.now() + 1000 * seconds;
  try {
    do {
      const prefix = `node-${kind}${number}:${figures.rounds}`;
      await round(client, other, (name, place) => `{${prefix}:${place}}:${name}`, clustered, many);
      figures.rounds += 1;
    } while (Date.now() < end);
  } finally {
    client.disconnect();
    other.disconnect();
  }
  console.log(JSON.stringify(figures));
}

const [kind, ...numbers] = process.argv.slice(2);
session(kind, ...numbers.map(Number)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
