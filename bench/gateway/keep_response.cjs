// Loaded before Portkey 1.15.2: its HTTP server replaces the global Response by one whose headers cannot be changed on Node 20, and
// then every stream fails with "TypeError: immutable".
const { defineProperty } = Object;
Object.defineProperty = (object, name, descriptor) =>
  object === globalThis && name === 'Response' ? object : defineProperty(object, name, descriptor);
