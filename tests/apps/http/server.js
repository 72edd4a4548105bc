// The same on Node's http module. Each request is one line of output: method, path, status; status 0
// when the client went before there was one. Arguments: the port, and for TLS a certificate and its key.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');

const LARGE = Buffer.alloc(5_000_000, 'x');
const log = (request, status) => console.log(`access ${request.method} ${request.url} ${status}`);

const answer = (request, response) => {
  response.on('close', () => log(request, response.headersSent ? response.statusCode : 0));
  const url = new URL(request.url, 'http://localhost');
  const path = url.pathname;
  if (path.startsWith('/items/')) {
    response.end(JSON.stringify({ item: path.slice(7) }));
  } else if (path === '/large') {
    response.writeHead(200, { 'Content-Length': LARGE.length }).end(LARGE);
  } else if (path === '/stream') {
    let left = 20;
    const part = () => {
      response.write('part'.repeat(2500));
      if (--left === 0) response.end();
      else setImmediate(part);
    };
    part();
  } else if (path === '/upload') {
    let bytes = 0;
    request.on('data', (chunk) => { bytes += chunk.length; });
    request.on('end', () => response.end(JSON.stringify({ bytes })));
  } else if (path === '/slow') {
    setTimeout(() => response.destroyed || response.end('slow'), 1000 * +url.searchParams.get('wait'));
  } else {
    response.writeHead(404).end('no');
  }
};

const [port, certificate, key] = process.argv.slice(2);
const server = certificate
  ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, answer)
  : http.createServer(answer);

server.on('upgrade', (request, socket) => {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  log(request, 101);
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  // The frames that come are not looked at: the first one is answered with a text and a good-bye.
  socket.once('data', () => socket.end(Buffer.from([0x81, 2, 0x68, 0x69, 0x88, 0])));
});

server.listen(+port, '127.0.0.1');
