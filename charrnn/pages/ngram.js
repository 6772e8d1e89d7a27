"use strict";
// An n-gram, and a network mixed with one, with the interface of Engine. They do what charrnn/model/ngram_engine.py
// and charrnn/model/mixture.py do, in float64 and equal to them up to rounding; logits are natural-log probabilities.

const MANY = 255; // what counts hold of a count that is as large, or larger: it is in more
const TINY = 2 ** -1022; // instead of a probability that is too small for a float64

function logarithms(probabilities) {
  for (let id = 0; id < probabilities.length; id++) probabilities[id] = Math.log(probabilities[id]);
  return probabilities;
}

// The grams of k symbols by number, in the order of their contexts, the grams of k - 1 symbols, and among those of one
// context in the order of their last symbols.
class Level {
  // begins: the number of each context's first gram, and of what follows the last one; discounts: D(0) to D(3), none
  // greater than the counts that it is for.
  constructor(tensors, k, begins, discounts) {
    const part = name => tensors[`grams.${k}.${name}`];
    Object.assign(this, {symbols: part("symbols"), begins, discounts});
    this.counts = new Uint32Array(part("counts"));
    let next = 0;
    for (let gram = 0; gram < this.counts.length; gram++) {
      if (this.counts[gram] === MANY) this.counts[gram] = part("more")[next++];
    }
  }

  // The number of the gram that a context makes with one more symbol; -1 for one that never occurred.
  find(context, id) {
    if (context < 0) return -1;
    const {symbols, begins} = this, end = begins[context + 1];
    let low = begins[context], high = end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (symbols[middle] < id) low = middle + 1; else high = middle;
    }
    return low < end && symbols[low] === id ? low : -1;
  }

  // Looks a context up: how often it occurred, total, and which share of that its discounts are, shared.
  enter(context) {
    const {counts, discounts} = this;
    let total = 0, discounted = 0;
    this.begin = this.begins[context];
    this.end = this.begins[context + 1];
    for (let gram = this.begin; gram < this.end; gram++) {
      const count = counts[gram];
      total += count;
      discounted += discounts[Math.min(count, 3)];
    }
    this.total = Math.max(total, 1);
    this.shared = total ? discounted / total : 1;
  }

  // Adds what discounts leave of the context's grams, scaled, to the probabilities of their last symbols.
  add(scale, probabilities) {
    const {symbols, counts, discounts, total} = this;
    for (let gram = this.begin; gram < this.end; gram++) {
      const count = counts[gram], kept = (count - discounts[Math.min(count, 3)]) / total;
      probabilities[symbols[gram]] += scale * kept;
    }
  }
}

// The number of the first child of each gram, and of what follows the last one.
function firstChildren(children) {
  const begins = new Uint32Array(children.length + 1);
  for (let gram = 0; gram < children.length; gram++) begins[gram + 1] = begins[gram] + children[gram];
  return begins;
}

class NGram {
  // header: vocabulary, discounts (four for each k up to the order), item_end as for Engine; tensors: the integers of
  // charrnn/model/grams.py by name.
  constructor(header, tensors) {
    const {vocabulary, discounts} = header;
    this.header = header;
    this.largest = Math.log(vocabulary) + 1e-6; // what the highest logit's magnitude cannot exceed
    this.levels = discounts.map((four, at) => {
      const children = at ? tensors[`grams.${at}.children`] : [tensors["grams.1.symbols"].length];
      return new Level(tensors, at + 1, firstChildren(children), four);
    });
    const [lowest] = this.levels;
    lowest.enter(0);
    this.unigram = new Float64Array(vocabulary).fill(1 / vocabulary * lowest.shared);
    lowest.add(1, this.unigram);
    this.contexts = new Int32Array(discounts.length); // the grams of 0, 1, ... symbols before a place, or -1
    this.scales = new Float64Array(discounts.length);
    this.found = new Float64Array(vocabulary);
    this.reset();
  }

  reset() {
    this.contexts.fill(-1);
    this.contexts[0] = 0;
  }

  // Reads one symbol.
  advance(id) {
    const {contexts, levels} = this;
    if (id === this.header.item_end) this.reset();
    for (let at = contexts.length - 1; at > 0; at--) contexts[at] = levels[at - 1].find(contexts[at - 1], id);
  }

  // Reads one symbol and returns the probabilities of the next, in a buffer that the next step overwrites.
  probabilities(id) {
    this.advance(id);
    const {contexts, levels, scales, unigram, found} = this;
    let scale = 1;
    for (let at = contexts.length - 1; at > 0; at--) {
      if (contexts[at] < 0) continue;
      levels[at].enter(contexts[at]);
      scales[at] = scale;
      scale *= levels[at].shared;
    }
    for (let other = 0; other < found.length; other++) found[other] = unigram[other] * scale;
    for (let at = contexts.length - 1; at > 0; at--) if (contexts[at] >= 0) levels[at].add(scales[at], found);
    return found;
  }

  // Reads one symbol and returns the logits of the next, in the same buffer.
  step(id) { return logarithms(this.probabilities(id)); }
}

class Mixture {
  // header: vocabulary, and mix, the weights of both.
  constructor(header, network, ngram) {
    Object.assign(this, {header, network, ngram, largest: ngram.largest});
    this.mixed = new Float64Array(header.vocabulary);
  }

  reset() {
    this.network.reset();
    this.ngram.reset();
  }

  advance(id) {
    this.network.advance(id);
    this.ngram.advance(id);
  }

  step(id) {
    const {network, mixed} = this, [ours, theirs] = this.header.mix;
    const logits = network.step(id), other = this.ngram.probabilities(id);
    const bounded = network.largest < LARGEST_EXPONENT, highest = bounded ? 0 : maximum(logits);
    let total = 0;
    for (let at = 0; at < mixed.length; at++) total += mixed[at] = Math.exp(fround(logits[at] - highest));
    for (let at = 0; at < mixed.length; at++) {
      mixed[at] = Math.max(ours * (mixed[at] / total) + theirs * other[at], TINY);
    }
    return logarithms(mixed);
  }
}

// What a page holds: a network, an n-gram, or both.
function makeEngine(header, bytes, plain = false) {
  const tensors = unpack(header, bytes);
  const network = header.cell ? new Engine(header, tensors, plain) : null;
  const ngram = header.discounts ? new NGram(header, tensors) : null;
  return network && ngram ? new Mixture(header, network, ngram) : network || ngram;
}
