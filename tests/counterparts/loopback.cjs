// For `node --require`: whatever listens on a port listens on loopback only.
const net = require("node:net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...told) {
  if (typeof told[0] === "number" || /^\d+$/.test(told[0])) {
    told.splice(1, typeof told[1] === "string" ? 1 : 0, "127.0.0.1");
  }
  return listen.apply(this, told);
};
