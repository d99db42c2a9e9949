const api = require('./node.cjs');
module.exports = api;
