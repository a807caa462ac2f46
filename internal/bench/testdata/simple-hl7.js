// A server of simple-hl7 that appends each message to a file and syncs it before it acknowledges: node simple-hl7.js PORT FILE
const fs = require('fs');
const hl7 = require('simple-hl7');

const [port, file] = process.argv.slice(2);
const out = fs.openSync(file, 'a');
const app = hl7.tcp();
app.use((req, res, next) => {
  fs.writeSync(out, req.raw);
  fs.fdatasyncSync(out);
  res.end();
});
app.use((err, req, res, next) => { throw err; });
app.start(Number(port));
