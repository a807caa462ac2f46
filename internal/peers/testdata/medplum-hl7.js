// Sends the messages of a file one after the other, and prints the answers: node medplum.js PORT FILE
const fs = require('fs');
const { Hl7Message } = require('@medplum/core');
const { Hl7Client } = require('@medplum/hl7');

async function main([port, file]) {
  const client = new Hl7Client({ host: '127.0.0.1', port: Number(port) });
  for (const text of fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\r').split(/(?=MSH\|)/)) {
    const answer = await client.sendAndWait(Hl7Message.parse(text));
    console.log(answer.toString().replaceAll('\r', '\n'));
  }
  await client.close();
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exit(1);
});
