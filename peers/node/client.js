// The @grpc/grpc-js client of the matrix: a closed loop of calls through pick_first or round_robin, counted by outcome.
//
// It uses grpc-js as its users do: no wait-for-ready, no retry policy, so that only what grpc-js heals by itself is healed.
'use strict';

const crypto = require('node:crypto');
const { parseArgs } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const { HelloService, StreamService } = require('./contract.js');

const { values: options } = parseArgs({
  options: {
    target: { type: 'string' }, // ipv4:host:port[,host:port…] or dns://[server]/name:port
    policy: { type: 'string', default: 'pick_first' },
    calls: { type: 'string', default: '0' }, // end after as many; 0: no limit
    seconds: { type: 'string', default: '0' }, // end after as long; 0: no limit
    'in-flight': { type: 'string', default: '10' },
    'deadline-ms': { type: 'string', default: '1000' },
    shape: { type: 'string', default: 'unary' },
    items: { type: 'string', default: '5' },
    'interval-ms': { type: 'string', default: '20' },
  },
});
const calls = Number(options.calls) || Infinity;
const seconds = Number(options.seconds) || Infinity;
const items = Number(options.items);
const interval = Number(options['interval-ms']);
if (!options.target || (calls === Infinity && seconds === Infinity)) {
  throw new Error('give --target, and --calls or --seconds');
}

const payload = Buffer.from('sixteen bytes ok');
const channelOptions = {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ [options.policy]: {} }] }),
  'grpc.enable_http_proxy': 0,
};
const credentials = grpc.credentials.createInsecure();
const hello = new HelloService(options.target, credentials, channelOptions);
const streams = new StreamService(options.target, credentials, channelOptions);

// Each shape begins a call and says what is wrong with its answer: a promise of undefined if nothing is.
// A call's status comes as an 'error' event or through the callback; `answered` turns both into a rejection.
const shapes = {
  unary(metadata, how) {
    return answered((done) => hello.Echo({ message: 'hello' }, metadata, how, done), async (call, answer) =>
      (await answer).message === 'hello' ? undefined : 'another message');
  },
  'server-stream'(metadata, how) {
    const request = { count: items, interval_ms: interval, payload };
    return answered(() => streams.ServerStream(request, metadata, how), async (call) => {
      let expected = 0;
      for await (const item of call) {
        if (!same(item, expected)) return `not item ${expected}`;
        expected += 1;
      }
      return expected === items ? undefined : `${expected} items`;
    });
  },
  'client-stream'(metadata, how) {
    return answered((done) => streams.ClientStream(metadata, how, done), async (call, answer) => {
      for (let sequence = 0; sequence < items; sequence += 1) {
        if (sequence > 0) await sleep(interval);
        call.write({ sequence, payload });
      }
      call.end();
      const { count, bytes } = await answer;
      return count === items && bytes === items * payload.length ? undefined : `summary of ${count} items`;
    });
  },
  'bidi-stream'(metadata, how) {
    return answered(() => streams.BidiStream(metadata, how), async (call) => {
      const echoes = call[Symbol.asyncIterator]();
      for (let sequence = 0; sequence < items; sequence += 1) {
        if (sequence > 0) await sleep(interval);
        call.write({ sequence, payload });
        const { done, value } = await echoes.next();
        if (done || !same(value, sequence)) return `not item ${sequence}`;
      }
      call.end();
      return (await echoes.next()).done ? undefined : 'an item after the last';
    });
  },
};

// Runs `talk` over the call that `open` begins; resolves to the backend's name, or rejects with the call's status.
async function answered(open, talk) {
  let call;
  const answer = new Promise((resolve, reject) => {
    call = open((error, response) => (error ? reject(error) : resolve(response)));
  });
  answer.catch(() => {}); // Awaited by `talk`, perhaps later than it rejects.
  let backend = 'unnamed';
  call.on('metadata', (header) => {
    backend = header.get('meshless-backend')[0] ?? backend;
  });
  const status = new Promise((resolve) => call.on('status', resolve));
  call.on('error', () => {}); // The status says it.
  const wrong = await talk(call, answer).catch((error) => error);
  if (typeof wrong === 'string') {
    call.cancel();
    throw Object.assign(new Error(wrong), { code: grpc.status.DATA_LOSS });
  }
  const { code, details } = await status;
  if (code !== grpc.status.OK) throw Object.assign(new Error(details), { code, details });
  if (wrong) throw wrong;
  return backend;
}

function same(item, sequence) {
  return item.sequence === sequence && payload.equals(item.payload);
}

const tally = { ok: 0, failed: 0, by_status: {}, backends: {} };
const reported = new Set();

function noteFailed(error) {
  const status = grpc.status[error.code] ?? 'UNKNOWN';
  const cause = `first ${status}: ${error.details ?? error.message}`;
  if (!reported.has(cause)) console.error(cause);
  reported.add(cause);
  tally.failed += 1;
  tally.by_status[status] = (tally.by_status[status] ?? 0) + 1;
}

// 31 random bits over 32 that count, so that clients of one server do not share ids. Beyond 2^53, hence BigInt.
let lastId = BigInt(crypto.randomInt(2 ** 31)) << 32n;
let begun = 0;
const end = performance.now() + seconds * 1000;

async function worker() {
  while (begun < calls && performance.now() < end) {
    begun += 1;
    const metadata = new grpc.Metadata();
    metadata.set('meshless-call-id', String((lastId += 1n)));
    const how = { deadline: Date.now() + Number(options['deadline-ms']) };
    try {
      const backend = await shapes[options.shape](metadata, how);
      tally.ok += 1;
      tally.backends[backend] = (tally.backends[backend] ?? 0) + 1;
    } catch (error) {
      noteFailed(error);
    }
  }
}

Promise.all(Array.from({ length: Number(options['in-flight']) }, worker)).then(() => {
  hello.close();
  streams.close();
  console.log(JSON.stringify(tally));
});
