// Greets on the Emperor's first socket. Byte 5 says that it does, byte 0 or 2 from the Emperor that it is to go.
import http from 'node:http'
import net from 'node:net'

const server = http.createServer((request, response) => {
  response.end(`${process.env.GREETING}, process ${process.pid}\n`)
})

const emperor = new net.Socket({ fd: Number(process.env.UWSGI_EMPEROR_FD) })
emperor.on('data', (orders) => {
  if (orders.includes(0) || orders.includes(2)) server.close(() => process.exit(0))
})
emperor.on('end', () => process.exit(1)) // there is no Emperor any more

server.listen({ fd: 3 }, () => emperor.write(Buffer.from([5])))
