// Sends the messages of a file one after the other, and prints the answers: node simple-hl7.js PORT FILE
const fs = require('fs');
const hl7 = require('simple-hl7');

const [port, file] = process.argv.slice(2);
const parser = new hl7.Parser({ segmentSeperator: '\r' });
const texts = fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\r').split(/(?=MSH\|)/);
const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port: Number(port), keepalive: true, callback: answered });

function next() {
  if (texts.length === 0) {
    client.close();
    return;
  }
  client.send(parser.parse(texts.shift()), answered);
}

function answered(err, ack) {
  if (err) throw err;
  console.log(ack.toString().replaceAll('\r', '\n'));
  setImmediate(next);
}

next();
