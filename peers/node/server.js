// The @grpc/grpc-js server of the matrix: both services of the lab behind connections that grpc-js itself ages.
//
// It prints one JSON line when it listens and one when it ends (SIGTERM, SIGINT, or its stdin closes).
'use strict';

const { parseArgs } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const { HelloService, StreamService } = require('./contract.js');

const { values: options } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    name: { type: 'string', default: 'grpc-js' },
    'service-time-ms': { type: 'string', default: '10' },
    'max-connection-age-ms': { type: 'string', default: '0' }, // 0: connections do not age
    'max-connection-age-grace-ms': { type: 'string', default: '0' }, // 0: no limit
  },
});

// What was executed, from a handler's begin, whether or not its answer arrived anywhere.
const executions = new Map();
const connections = new Set();
let idsMissing = 0;

function begin(call) {
  connections.add(call.getPeer());
  const [id] = call.metadata.get('meshless-call-id');
  if (id === undefined) {
    idsMissing += 1;
  } else {
    executions.set(id, (executions.get(id) ?? 0) + 1);
  }
  const header = new grpc.Metadata();
  header.set('meshless-backend', options.name);
  call.sendMetadata(header);
}

// Counts in `connections` those that carried at least one call.
function summary() {
  const withId = [...executions.values()].reduce((sum, times) => sum + times, 0);
  return {
    executed: withId + idsMissing,
    duplicates: withId - executions.size,
    ids_missing: idsMissing,
    connections: connections.size,
  };
}

const serviceTime = Number(options['service-time-ms']);

const hello = {
  Echo(call, callback) {
    begin(call);
    setTimeout(() => callback(null, { message: call.request.message }), serviceTime);
  },
};

const streams = {
  async ServerStream(call) {
    begin(call);
    const { count, interval_ms: interval, payload } = call.request;
    for (let sequence = 0; sequence < count && !call.cancelled; sequence += 1) {
      if (sequence > 0) await sleep(interval);
      call.write({ sequence, payload });
    }
    call.end();
  },
  ClientStream(call, callback) {
    begin(call);
    const total = { count: 0, bytes: 0 };
    call.on('data', (item) => {
      total.count += 1;
      total.bytes += item.payload.length;
    });
    call.on('end', () => callback(null, total));
  },
  BidiStream(call) {
    begin(call);
    call.on('data', (item) => call.write(item));
    call.on('end', () => call.end());
  },
};

const channelOptions = {};
for (const [option, flag] of [
  ['grpc.max_connection_age_ms', 'max-connection-age-ms'],
  ['grpc.max_connection_age_grace_ms', 'max-connection-age-grace-ms'],
]) {
  if (Number(options[flag]) > 0) channelOptions[option] = Number(options[flag]);
}

const server = new grpc.Server(channelOptions);
server.addService(HelloService.service, hello);
server.addService(StreamService.service, streams);
server.bindAsync(options.listen, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  const host = options.listen.slice(0, options.listen.lastIndexOf(':'));
  console.log(JSON.stringify({ listening: `${host}:${port}` }));
});

let ending = false;
function end() {
  if (ending) return;
  ending = true;
  const finish = () => process.stdout.write(`${JSON.stringify(summary())}\n`, () => process.exit(0));
  server.tryShutdown(finish);
  setTimeout(finish, 1000);
}
process.on('SIGTERM', end);
process.on('SIGINT', end);
// A parent that dies closes our stdin, so none is left behind.
process.stdin.on('end', end).resume();
