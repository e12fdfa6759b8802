// The lab's two services, read from their .proto files: for the server and for the client.
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const folder = path.join(__dirname, '../../crates/meshless-lab/proto');
const definition = protoLoader.loadSync(['hello.proto', 'streams.proto'], {
  includeDirs: [folder],
  keepCase: true,
  longs: Number,
  defaults: true,
});
const loaded = grpc.loadPackageDefinition(definition);

module.exports = {
  HelloService: loaded.hello.HelloService,
  StreamService: loaded.meshless.lab.v1.StreamService,
};
