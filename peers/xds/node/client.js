// The @grpc/grpc-js client of the xDS checks: calls again and again, and prints a line for each.
//
// A line is the time of the call's end in ms, how long it took, and the backend or an exclamation mark and the code.
'use strict';

const { parseArgs } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

const { values: options } = parseArgs({
  options: { target: { type: 'string' }, workers: { type: 'string', default: '1' }, 'pause-ms': { type: 'string', default: '10' } },
});
const same = (bytes) => bytes;
const client = new grpc.Client(options.target, grpc.credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 });

function call() {
  return new Promise((resolve) => {
    let backend = 'unnamed';
    const how = { deadline: Date.now() + 20_000 };
    const done = (error) => {
      if (error) process.stderr.write(`${error.message}\n`);
      resolve(error ? `!${grpc.status[error.code]}` : backend);
    };
    const request = Buffer.from('\x0a\x05hello');
    const sent = new grpc.Metadata();
    sent.set('session', 'one'); // what ring_hash goes by, where it is in use
    const rpc = client.makeUnaryRequest('/hello.HelloService/Echo', same, same, request, sent, how, done);
    rpc.on('metadata', (metadata) => { backend = metadata.get('meshless-backend')[0] ?? backend; });
  });
}

async function work() {
  for (;;) {
    const begun = Date.now();
    const result = await call();
    process.stdout.write(`${Date.now()} ${Date.now() - begun} ${result}\n`);
    await sleep(Number(options['pause-ms']));
  }
}

for (let worker = 0; worker < Number(options.workers); worker += 1) work();
// Its end is the end of whoever started this.
process.stdin.on('end', () => process.exit(0)).resume();
