"use strict";
// The thread that writes, so that the page never waits. Messages in: load, write, more, stop. Messages out:
// ready, begun (with the prompt as it is read), text (what was made in one slice), done, failed.

const SLICE = 30; // milliseconds of work between looks at the messages

let engine, tokenizer, steps, run, left = 0, count = 0, seconds = 0, waiting = false;

// The next slice comes after the messages that are waiting; a timer would wait for at least 4 ms.
const turn = new MessageChannel();
turn.port1.onmessage = () => {
  waiting = false;
  slice();
};

function takeTurn() {
  if (!waiting) turn.port2.postMessage(null);
  waiting = true;
}

function slice() {
  const began = performance.now(), pieces = [];
  let now = began, made = 0;
  while (left > 0 && now < began + SLICE) {
    const {value} = steps.next();
    if (value) {
      left--;
      made++;
      if (value.text) pieces.push(value.text, value.bits);
    }
    now = performance.now();
  }
  count += made;
  if (made) seconds += (now - began) / 1000;
  postMessage({kind: "text", run, pieces, count});
  if (left > 0) takeTurn();
  else postMessage({kind: "done", run, count, seconds});
}

function goOn(length) {
  left = length;
  count = seconds = 0;
  takeTurn();
}

const handlers = {
  load({header, weights}) {
    tokenizer = new Tokenizer(header.tokenizer);
    engine = makeEngine(header, fromBase64(weights));
    postMessage({kind: "ready"});
  },
  write({settings, prompt, length, run: number}) {
    run = number;
    const {ids, text, missing} = tokenizer.encode(prompt);
    steps = write(engine, tokenizer, settings, ids);
    postMessage({kind: "begun", run, prompt: text, missing});
    goOn(length);
  },
  more({length}) { goOn(length); },
  stop() { left = 0; },
};

onmessage = ({data}) => {
  try {
    handlers[data.kind](data);
  } catch (error) {
    postMessage({kind: "failed", message: error.message});
  }
};
