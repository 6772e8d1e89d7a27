"use strict";
// A model that writes, without a page around it: weights in, text out. It does what charrnn/model/engine.py and
// charrnn/sampling/sampler.py do, in the same order and as far as possible with the same rounding: weights,
// activations and a network's logits are float32, choosing is float64, and a seed means the same sequence of numbers.

// -- numbers ---------------------------------------------------------------------------------------------------

// Python's random.Random(seed).random(): MT19937 (Matsumoto & Nishimura, 1998), initialized by the seed's 32-bit words.
class MersenneTwister {
  constructor(seed) {
    const words = [];
    for (let rest = BigInt(seed); rest > 0n; rest >>= 32n) words.push(Number(rest & 0xffffffffn));
    const key = words.length ? words : [0], state = new Uint32Array(624);
    state[0] = 19650218;
    const mixed = i => state[i - 1] ^ (state[i - 1] >>> 30);
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, mixed(i)) + i;
    let i = 1, j = 0;
    const next = () => { if (++i === 624) { state[0] = state[623]; i = 1; } };
    for (let left = Math.max(624, key.length); left > 0; left--) {
      state[i] = (state[i] ^ Math.imul(mixed(i), 1664525)) + key[j] + j;
      j = (j + 1) % key.length;
      next();
    }
    for (let left = 623; left > 0; left--) {
      state[i] = (state[i] ^ Math.imul(mixed(i), 1566083941)) - i;
      next();
    }
    state[0] = 0x80000000;
    this.state = state;
    this.at = 624;
  }

  word() {
    const state = this.state;
    if (this.at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.at = 0;
    }
    let y = state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  // The next of 2^53 numbers in [0, 1).
  random() {
    const high = this.word() >>> 5, low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }
}

function fromBase64(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// All 65536 float16 numbers as float32.
function halves() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    table[bits] = bits & 32768 ? -size : size;
  }
  return table;
}

const UNSIGNED = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array};

// The tensors that a page holds, by name: weights as float32, unsigned integers as they are.
function unpack(header, bytes) {
  const half = halves(), tensors = {};
  for (const {name, type, shape, offset, scales} of header.tensors) {
    const count = shape.reduce((a, b) => a * b, 1);
    const at = (Type, place, length) => new Type(bytes.buffer, bytes.byteOffset + place, length);
    if (type in UNSIGNED) {
      tensors[name] = at(UNSIGNED[type], offset, count);
      continue;
    }
    const values = tensors[name] = new Float32Array(count);
    if (type === "float32") {
      values.set(at(Float32Array, offset, count));
    } else if (type === "float16") {
      const bits = at(Uint16Array, offset, count);
      for (let i = 0; i < count; i++) values[i] = half[bits[i]];
    } else { // int8, with a scale for each row
      const whole = at(Int8Array, offset, count), scale = at(Float32Array, scales, shape[0]), columns = shape[1];
      for (let i = 0, row = 0; row < shape[0]; row++) {
        for (const end = i + columns; i < end; i++) values[i] = whole[i] * scale[row];
      }
    }
  }
  return tensors;
}

// -- matrix times vector, where all the time goes ----------------------------------------------------------------

const LANES = 16; // rows that are computed together

// A WebAssembly module of one function, product(matrix, vector, result, blocks, columns), on byte addresses:
// for each block of 16 rows, the sum over the columns t of vector[t] * matrix[t], four times four at once.
// A block is stored column by column: 16 numbers for t = 0, then 16 for t = 1 ...
function productModule() {
  const MATRIX = 0, VECTOR = 1, RESULT = 2, BLOCKS = 3, COLUMNS = 4, AT = 5, END = 6, SUMS = 7, FACTOR = 11;
  const get = i => [0x20, i], set = i => [0x21, i], tee = i => [0x22, i], i32 = n => [0x41, n];
  const ADD = [0x6a], LESS = [0x49], LOOP = [0x03, 0x40], REPEAT_IF = [0x0d, 0], CLOSE = [0x0b];
  const load = offset => [0xfd, 0x00, 4, offset], store = offset => [0xfd, 0x0b, 4, offset];
  const LOAD_SPLAT = [0xfd, 0x09, 2, 0], SPLAT = [0xfd, 0x11], F_ADD = [0xfd, 0xe4, 1], F_MUL = [0xfd, 0xe6, 1];
  const SIXTY_FOUR = [0x41, 0xc0, 0x00], MINUS_ONE = [0x41, 0x7f];
  const each = make => [0, 1, 2, 3].flatMap(k => make(SUMS + k, 16 * k).flat());
  const body = [
    [2, 2, 0x7f, 5, 0x7b], // the locals: two i32, five v128
    get(VECTOR), get(COLUMNS), i32(2), [0x74], ADD, set(END), // end = vector + (columns << 2)
    LOOP,
    each(sum => [i32(0), SPLAT, set(sum)]),
    get(VECTOR), set(AT),
    LOOP,
    get(AT), LOAD_SPLAT, set(FACTOR),
    each((sum, offset) => [get(sum), get(FACTOR), get(MATRIX), load(offset), F_MUL, F_ADD, set(sum)]),
    get(MATRIX), SIXTY_FOUR, ADD, set(MATRIX),
    get(AT), i32(4), ADD, tee(AT), get(END), LESS, REPEAT_IF,
    CLOSE,
    each((sum, offset) => [get(RESULT), get(sum), store(offset)]),
    get(RESULT), SIXTY_FOUR, ADD, set(RESULT),
    get(BLOCKS), MINUS_ONE, ADD, tee(BLOCKS), REPEAT_IF,
    CLOSE, CLOSE,
  ].flat();
  const leb = n => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
  const section = (id, content) => [id, ...leb(content.length), ...content];
  const name = text => [text.length, ...Array.from(text, c => c.charCodeAt(0))];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]), // its type: five i32, no result
    ...section(2, [1, ...name("m"), ...name("memory"), 2, 0, 0]), // the memory comes from outside
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("product"), 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

// The same in JavaScript, a third as fast, on the buffer's float32 numbers.
function plainProduct(buffer) {
  const memory = new Float32Array(buffer);
  return (matrix, vector, result, blocks, columns) => {
    const x = vector >> 2;
    let w = matrix >> 2;
    for (let row = result >> 2, end = row + LANES * blocks; row < end; row += LANES, w += LANES * columns) {
      for (let part = 0; part < LANES; part += 4) {
        let a = 0, b = 0, c = 0, d = 0;
        for (let t = 0, p = w + part; t < columns; t++, p += LANES) {
          const factor = memory[x + t];
          a += memory[p] * factor;
          b += memory[p + 1] * factor;
          c += memory[p + 2] * factor;
          d += memory[p + 3] * factor;
        }
        memory[row + part] = a;
        memory[row + part + 1] = b;
        memory[row + part + 2] = c;
        memory[row + part + 3] = d;
      }
    }
  };
}

// One block of memory for matrices and vectors, whose sizes must be known before it is made.
class Arena {
  constructor(floats, plain) {
    this.used = 0;
    try {
      if (plain) throw new Error("asked for");
      const memory = new WebAssembly.Memory({initial: Math.ceil(floats / 16384) + 1});
      const module = new WebAssembly.Module(productModule());
      this.product = new WebAssembly.Instance(module, {m: {memory}}).exports.product;
      this.buffer = memory.buffer;
    } catch {
      this.buffer = new ArrayBuffer(4 * floats);
      this.product = plainProduct(this.buffer);
    }
  }

  static room(count) { return Math.ceil(count / LANES) * LANES; }

  vector(count) {
    const found = new Float32Array(this.buffer, 4 * this.used, count);
    this.used += Arena.room(count);
    return found;
  }

  // A function that puts the product of a vector with the matrices, side by side, into result, which must have room
  // for whole blocks of rows.
  matrix(rows, parts) {
    const columns = parts.reduce((sum, part) => sum + part.length / rows, 0);
    const blocks = Math.ceil(rows / LANES), store = this.vector(blocks * LANES * columns);
    let first = 0;
    for (const part of parts) {
      const width = part.length / rows;
      for (let row = 0; row < rows; row++) {
        const to = (row - row % LANES) * columns + row % LANES, from = row * width;
        for (let t = 0; t < width; t++) store[to + (first + t) * LANES] = part[from + t];
      }
      first += width;
    }
    const {product} = this;
    return (vector, result) => product(store.byteOffset, vector.byteOffset, result.byteOffset, blocks, columns);
  }
}

// -- the network -----------------------------------------------------------------------------------------------

const fround = Math.fround;
const tanh = x => fround(Math.tanh(x));
const sigmoid = half => fround(tanh(half) * 0.5 + 0.5); // of twice its argument: the weights are halved already

// What a cell does with its rows (gates * hidden), and which of its blocks of rows are sigmoids' and so halved.
const CELLS = {
  // i, f, g, o: c' = f c + i g and h' = o tanh(c')
  lstm: {gates: 4, halved: [true, true, false, true], update: ({rows, hidden, cell}) => {
    const size = hidden.length;
    for (let j = 0; j < size; j++) {
      const i = sigmoid(rows[j]), f = sigmoid(rows[size + j]);
      const g = tanh(rows[2 * size + j]), o = sigmoid(rows[3 * size + j]);
      cell[j] = fround(f * cell[j]) + fround(i * g);
      hidden[j] = o * tanh(cell[j]);
    }
  }},
  // r, z, n: n = tanh(W x + r (U h)) and h' = n + z (h - n); the two products stay apart
  gru: {gates: 3, halved: [true, true, false], apart: true, update: ({rows, inputs, hidden}) => {
    const size = hidden.length;
    for (let j = 0; j < size; j++) {
      const r = sigmoid(fround(rows[j] + inputs[j])), z = sigmoid(fround(rows[size + j] + inputs[size + j]));
      const n = tanh(fround(fround(rows[2 * size + j] * r) + inputs[2 * size + j]));
      hidden[j] = fround(fround(hidden[j] - n) * z) + n;
    }
  }},
  rnn: {gates: 1, halved: [false], update: ({rows, hidden}) => {
    for (let j = 0; j < hidden.length; j++) hidden[j] = tanh(rows[j]);
  }},
  relu: {gates: 1, halved: [false], update: ({rows, hidden}) => {
    for (let j = 0; j < hidden.length; j++) hidden[j] = Math.max(0, rows[j]);
  }},
};

function add(target, other) {
  for (let j = 0; j < other.length; j++) target[j] += other[j];
}

class Engine {
  // header: cell, layers, hidden, embedding, vocabulary, tied, output_layers (which layers' hidden states, in this
  // order, the output reads side by side), item_end (the id that is read from a zero state, since it ends a line and
  // lines are items of their own; or null); tensors: float32 arrays by name.
  constructor(header, tensors, plain = false) {
    const {layers, hidden: size, vocabulary} = header;
    this.header = header;
    this.kind = CELLS[header.cell];
    const rows = this.rows = this.kind.gates * size;
    const read = size * header.output_layers.length;
    const room = Arena.room;
    this.arena = new Arena(
      layers * room(rows) * 2 * size + room(vocabulary) * (read + 1) + room(layers * size) + room(read)
      + 2 * room(rows), plain);
    this.state = this.arena.vector(layers * size); // the hidden states, from the bottom up
    this.product = this.arena.vector(room(rows));
    this.inputs = this.arena.vector(room(rows));
    this.read = this.arena.vector(read);
    this.logits = this.arena.vector(room(vocabulary));
    this.layers = Array.from({length: layers}, (_, index) => this.layOut(index, tensors));
    this.embedding = tensors["embedding.weight"];
    this.first = this.halve(tensors["layers.0.input.weight"]);
    this.table = new Array(vocabulary); // what the first layer makes of a symbol, once it was asked for
    const output = tensors[header.tied ? "embedding.weight" : "output.weight"];
    this.output = this.arena.matrix(vocabulary, [output]);
    this.bias = tensors["output.bias"];
    this.largest = 0; // what no logit's magnitude can exceed, where no unit exceeds 1
    for (let id = 0; id < vocabulary; id++) {
      let sum = Math.abs(this.bias[id]);
      for (let j = 0; j < read; j++) sum += Math.abs(output[id * read + j]);
      this.largest = Math.max(this.largest, sum);
    }
    if (header.cell === "relu") this.largest = Infinity;
  }

  // A weight matrix or bias with the rows of sigmoids halved.
  halve(array) {
    const block = array.length / this.kind.gates, halved = array.slice();
    this.kind.halved.forEach((whether, gate) => {
      if (whether) for (let i = gate * block; i < (gate + 1) * block; i++) halved[i] /= 2;
    });
    return halved;
  }

  layOut(index, tensors) {
    const {hidden: size} = this.header, {arena, rows} = this, {apart} = this.kind;
    const [W, b, U, d] = ["input.weight", "input.bias", "recurrent.weight", "recurrent.bias"].map(
      role => this.halve(tensors[`layers.${index}.${role}`]));
    const both = b.map((value, row) => value + d[row]);
    const own = this.state.subarray(index * size, (index + 1) * size);
    const below = this.state.subarray(Math.max(0, index - 1) * size, index * size);
    const layer = {hidden: own, cell: new Float32Array(size), rows: this.product, inputs: this.inputs};
    if (apart || index === 0) {
      layer.matrix = arena.matrix(rows, [U]);
      layer.reads = own;
    } else {
      layer.matrix = arena.matrix(rows, [W, U]);
      layer.reads = this.state.subarray((index - 1) * size, (index + 1) * size);
    }
    layer.bias = apart ? d : index ? both : null;
    if (index === 0) this.inputBias = apart ? b : both;
    else if (apart) Object.assign(layer, {W: arena.matrix(rows, [W]), below, inputBias: b});
    return layer;
  }

  // The first layer's rows for a symbol: W e + b.
  symbol(id) {
    if (!this.table[id]) {
      const width = this.header.embedding, {first, embedding} = this;
      this.table[id] = this.inputBias.map((bias, row) => {
        let sum = 0;
        for (let t = 0; t < width; t++) sum += first[row * width + t] * embedding[id * width + t];
        return fround(sum) + bias;
      });
    }
    return this.table[id];
  }

  reset() {
    this.state.fill(0);
    for (const layer of this.layers) layer.cell.fill(0);
  }

  // Reads one symbol.
  advance(id) {
    if (id === this.header.item_end) this.reset();
    const {apart, update} = this.kind;
    this.layers.forEach((layer, index) => {
      if (apart && index) {
        layer.W(layer.below, this.inputs);
        add(this.inputs, layer.inputBias);
      } else if (apart) {
        this.inputs.set(this.symbol(id));
      }
      layer.matrix(layer.reads, this.product);
      add(this.product, layer.bias || this.symbol(id));
      update(layer);
    });
  }

  // Reads one symbol and returns the logits of the next, in a buffer that the next step overwrites.
  step(id) {
    this.advance(id);
    const {hidden: size, output_layers: layers} = this.header;
    layers.forEach((layer, place) => {
      this.read.set(this.state.subarray(layer * size, (layer + 1) * size), place * size);
    });
    this.output(this.read, this.logits);
    add(this.logits, this.bias);
    return this.logits.subarray(0, this.header.vocabulary);
  }
}

// -- choosing: the steps of charrnn/sampling/sampler.py ------------------------------------------------------------

const LARGEST_EXPONENT = 690; // of e, so that a sum over all of Unicode is a float64

function maximum(values) {
  let highest = -Infinity;
  for (let id = 0; id < values.length; id++) if (values[id] > highest) highest = values[id];
  return highest;
}

// e to the power of what each value is below the highest. single: the values are float32, and so is the difference.
function powers(values, single) {
  const highest = maximum(values);
  return values.map(value => Math.exp(single ? fround(value - highest) : value - highest));
}

function keepTopK(values, k) {
  if (k >= values.length) return values;
  const kth = values.slice().sort()[values.length - k];
  return values.map(value => (value < kth ? -Infinity : value));
}

function keepTopP(values, p, single) {
  const ids = Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
  const weights = powers(values, single), total = weights.reduce((a, b) => a + b, 0);
  const kept = values.slice();
  let sum = 0;
  for (const id of ids) {
    const probability = weights[id] / total;
    sum += probability;
    if (sum - probability >= p) kept[id] = -Infinity;
  }
  return kept;
}

function keepMinP(values, p) {
  const least = maximum(values) + Math.log(p);
  return values.map(value => (value < least ? -Infinity : value));
}

function draw(values, uniform, single) {
  const weights = powers(values, single);
  let total = 0;
  for (let id = 0; id < weights.length; id++) weights[id] = total += weights[id];
  const target = uniform * total;
  // Where the product rounded up to the total, the last id that has a probability.
  if (target >= total) return weights.indexOf(total);
  let id = 0;
  while (weights[id] <= target) id++;
  return id;
}

function argmax(values) {
  let best = 0;
  for (let id = 1; id < values.length; id++) if (values[id] > values[best]) best = id;
  return best;
}

// Chooses ids as {temperature, top_k, top_p, min_p, seed} say; forbidden is an id never to choose, or null.
class Sampler {
  constructor(settings, forbidden, largest) {
    this.settings = settings;
    this.forbidden = forbidden;
    this.generator = new MersenneTwister(settings.seed);
    const {temperature, top_k, top_p, min_p} = settings;
    this.plain = !(top_k || top_p < 1 || min_p) && temperature > 0 && largest / temperature < LARGEST_EXPONENT;
  }

  // unwanted: an id, or null. Where it was chosen, the choice is made again without it.
  choose(logits, unwanted = null) {
    const id = this.plain ? this.drawPlainly(logits) : this.chooseWithout(null, logits);
    return id === unwanted ? this.chooseWithout(id, logits) : id;
  }

  chooseWithout(barred, logits) {
    const {temperature, top_k, top_p, min_p} = this.settings;
    const float32 = logits instanceof Float32Array, single = float32 && temperature === 1;
    let values = Float64Array.from(logits);
    for (const id of [this.forbidden, barred]) if (id !== null) values[id] = -Infinity;
    if (temperature === 0) return argmax(values);
    if (!single) {
      const highest = maximum(values);
      values = values.map(value => (float32 ? fround(value - highest) : value - highest) / temperature);
    }
    if (top_k) values = keepTopK(values, top_k);
    if (top_p < 1) values = keepTopP(values, top_p, single);
    if (min_p) values = keepMinP(values, min_p);
    return draw(values, this.generator.random(), single);
  }

  // Without looking for the maximum, for which there is room.
  drawPlainly(logits) {
    const inverse = 1 / this.settings.temperature, {forbidden} = this, size = logits.length;
    this.cumulative = this.cumulative || new Float64Array(size);
    const {cumulative} = this;
    let total = 0;
    for (let id = 0; id < size; id++) {
      if (id !== forbidden) total += Math.exp(logits[id] * inverse);
      cumulative[id] = total;
    }
    const target = this.generator.random() * total;
    if (target >= total) return cumulative.indexOf(total);
    let low = 0, high = size - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] > target) high = middle; else low = middle + 1;
    }
    return low;
  }
}

// What an id cost in bits under the model as it is, before any setting changed that.
function surprise(logits, id) {
  const highest = maximum(logits);
  let sum = 0;
  for (let other = 0; other < logits.length; other++) sum += Math.exp(logits[other] - highest);
  return (Math.log(sum) - (logits[id] - highest)) / Math.LN2;
}

// -- symbols ---------------------------------------------------------------------------------------------------

// The vocabulary: {kind: "char", points, unknown, start} or {kind: "byte", start}.
class Tokenizer {
  constructor({kind, points = [], unknown = null, start}) {
    Object.assign(this, {kind, points, unknown, start});
    this.ids = new Map(points.map((point, id) => [point, id]));
  }

  // The ids of a text, the text that they stand for, and the characters that were left out since the vocabulary
  // has neither them nor an unknown symbol.
  encode(text) {
    if (this.kind === "byte") return {ids: Array.from(new TextEncoder().encode(text)), text, missing: []};
    const ids = [], kept = [], missing = new Set();
    for (const character of text) {
      const id = this.ids.get(character.codePointAt(0)) ?? this.unknown;
      if (id === null) missing.add(character);
      else { ids.push(id); kept.push(character); }
    }
    return {ids, text: kept.join(""), missing: [...missing]};
  }

  // A function from an id to the text that is complete with it: of bytes often none.
  decoder() {
    if (this.kind === "char") return id => String.fromCodePoint(this.points[id]);
    const utf8 = new TextDecoder("utf-8", {ignoreBOM: true}); // else it swallows a byte order mark
    return id => utf8.decode(Uint8Array.of(id), {stream: true});
  }
}

// -- writing ---------------------------------------------------------------------------------------------------

// One text, symbol by symbol, without an end. Each step is null while the prompt is read, then {text, bits}: what
// became readable with the symbol, and what that cost.
function* write(engine, tokenizer, settings, prompt) {
  const sampler = new Sampler(settings, tokenizer.unknown, engine.largest), decode = tokenizer.decoder();
  engine.reset();
  const {opening, item_end: end} = engine.header; // a line does not end right after the opening: none is empty
  let id = tokenizer.start, held = 0;
  for (const next of prompt) {
    engine.advance(id);
    id = next;
    yield null;
  }
  while (true) {
    const logits = engine.step(id);
    id = sampler.choose(logits, id === opening ? end : null);
    held += surprise(logits, id);
    const text = decode(id);
    yield {text, bits: held};
    if (text) held = 0;
  }
}
