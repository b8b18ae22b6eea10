// Episodes to watch: play, step, scrub. Made from the JSON inside `.replay`; a figure below it shows the same without scripts.
"use strict";

(() => {
  const svg = (body, box, label) => `<svg viewBox="${box}" role="img" aria-label="${label}">${body}</svg>`;
  const line = (points, name) => `<polyline class="${name}" points="${points.map((at) => at.join(",")).join(" ")}"/>`;

  // -- the controls of any replay: draw(t) shows moment t of `length`, told(t) says it in words
  function controls(box, length, rate) {
    const bar = document.createElement("div");
    bar.className = "replay-controls";
    bar.innerHTML = `<button type="button" data-do="play">Play</button>
      <button type="button" data-do="-1" aria-label="One step back">−1</button>
      <button type="button" data-do="1" aria-label="One step on">+1</button>
      <label>Step <input type="range" min="0" max="${length - 1}" value="0"></label><output></output>`;
    const [play, slider, output] = ["[data-do=play]", "input", "output"].map((name) => bar.querySelector(name));
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const state = { t: 0, timer: 0, draw: () => {} };
    state.show = (t) => {
      state.t = Math.max(0, Math.min(+slider.max, t));
      slider.value = state.t;
      output.textContent = `${state.t} of ${slider.max}`;
      state.draw(state.t);
      if (state.t === +slider.max) stop();
    };
    state.stretch = (most) => { slider.max = most; state.show(state.t); };
    function stop() {
      clearInterval(state.timer);
      state.timer = 0;
      play.textContent = "Play";
    }
    play.addEventListener("click", () => {
      if (state.timer) return stop();
      if (state.t === +slider.max) state.show(0);
      play.textContent = "Pause";
      state.timer = setInterval(() => state.show(state.t + 1), 1000 / (calm ? 1 : rate));
    });
    bar.querySelectorAll("[data-do$='1']").forEach((button) => button.addEventListener("click", () => {
      stop();
      state.show(state.t + Number(button.dataset.do));
    }));
    slider.addEventListener("input", () => { stop(); state.show(+slider.value); });
    box.append(bar);
    return state;
  }

  function choice(box, label, options) {
    const wrapped = document.createElement("label"), select = document.createElement("select");
    options.forEach(([text, value]) => select.append(new Option(text, value)));
    wrapped.append(`${label} `, select);
    box.append(wrapped);
    return select;
  }

  // -- task offloading: the rules of lnlab.envs.scalar, from the choices alone
  function episode(data, choices) {
    const states = [], local = [], cloud = [];
    let free = data.capacity, pool = data.cloud, earned = 0;
    for (let t = 0; t <= choices.length; t++) {
      const seen = { free, pool, earned, local: local.map((task) => [...task]), cloud: cloud.map((task) => [...task]) };
      states.push(seen);
      if (t === choices.length) break;
      const letter = choices[t], task = [data.units[t], data.duration[t]];
      seen.choice = { L: "computes it", O: "offloads it", D: "discards it" }[letter.toUpperCase()];
      seen.refused = letter !== letter.toUpperCase();
      if (letter === "L") { local.push(task); free -= task[0]; }
      if (letter === "O") { cloud.push(task); pool -= task[0]; }
      for (const queue of [local, cloud]) {
        for (let n = queue.length - 1; n >= 0; n--) {
          if (--queue[n][1] > 0) continue;
          earned += queue[n][0] / 20;
          if (queue === local) free += queue[n][0];
          queue.splice(n, 1);
        }
      }
    }
    return states;
  }

  function queueBar(name, tasks, most, told) {
    const parts = tasks.map(([units, left]) =>
      `<span style="width:${100 * units / most}%;opacity:${0.35 + 0.65 * left / 50}" title="${units} units, ${left} steps left"></span>`);
    return `<div class="queue-name">${name}: ${told}</div><div class="queue">${parts.join("")}</div>`;
  }

  function offloading(box, data) {
    const moment = choice(box, "Trained for", data.runs[0].episodes.map(({ trained }, n) => [`${trained} episodes`, n]));
    const state = controls(box, data.units.length, 4), stage = document.createElement("div");
    stage.className = "replay-stage";
    const said = Object.assign(document.createElement("p"), { className: "replay-said" });
    box.append(said, stage);
    let played = [];
    state.draw = (t) => {
      const acting = t < data.units.length - 1;
      said.textContent = acting
        ? `Step ${t + 1}: a task of ${data.units[t]} units for ${data.duration[t]} steps; the channel is ${data.channel[t] ? "good" : "bad"}.`
        : "The episode is over.";
      const top = Math.max(...played.flatMap((states) => states.map(({ earned }) => earned)), 1);
      stage.innerHTML = played.map((states, n) => {
        const now = states[t], path = states.slice(0, t + 1).map(({ earned }, at) => [2 * at, 60 - 56 * earned / top]);
        return `<section style="--tone:${data.runs[n].colour}"><h3>${data.runs[n].label}</h3>
          <p class="choice${now.refused ? " refused" : ""}">${acting ? now.choice + (now.refused ? ": refused" : "") : "—"}</p>
          ${queueBar("On board", now.local, data.capacity, `${data.capacity - now.free} of ${data.capacity} units busy`)}
          ${queueBar("In the cloud", now.cloud, data.cloud, `${now.pool} of ${data.cloud} units left`)}
          <p>Return so far: <b class="earned">${now.earned.toFixed(1)}</b></p>
          ${svg(line([[0, 60], [200, 60]], "axis") + line(path, "path"), "0 0 200 64", "Return so far, step by step")}</section>`;
      }).join("");
    };
    const load = () => {
      played = data.runs.map(({ episodes }) => episode(data, episodes[moment.value].choices));
      played.forEach((states, n) => {
        const told = data.runs[n].episodes[moment.value].return;
        if (Math.abs(states.at(-1).earned - told) > 0.01) console.error(`replay: ${states.at(-1).earned} instead of ${told}`);
      });
      state.show(state.t);
    };
    moment.addEventListener("change", load);
    moment.value = 1;
    state.t = 20;  // the queues are no longer empty
    load();
  }

  // -- driving: the centre line of the track, and poses by step; 25 steps a second unless `rate` says otherwise
  function driving(box, data) {
    const rate = data.rate ?? 25, arm = choice(box, data.choose ?? "Agent", data.arms.map(({ label }, n) => [label, n]));
    const state = controls(box, 2, rate / data.every), stage = document.createElement("div");
    stage.className = "replay-stage";
    box.append(stage);
    const xs = data.track.map(([x]) => x), ys = data.track.map(([, y]) => -y), rim = 25;
    const low = [Math.min(...xs) - rim, Math.min(...ys) - rim];
    const view = [...low, Math.max(...xs) + rim - low[0], Math.max(...ys) + rim - low[1]].map(Math.round).join(" ");
    const road = data.track.map(([x, y]) => [x, -y]);
    state.draw = (t) => {
      stage.innerHTML = data.arms[arm.value].drives.map(({ label, poses }) => {
        const at = Math.min(t, poses.length - 1), [x, y, heading, speed] = poses[at];
        const seconds = (at * data.every / rate).toFixed(1), ended = at === poses.length - 1 ? ", the end" : "";
        const car = `<path class="car" d="M-5 6L0 -8L5 6Z" transform="translate(${x} ${-y}) rotate(${-heading * 180 / Math.PI})"/>`;
        const path = line(poses.slice(0, at + 1).map(([a, b]) => [a, -b]), "path");
        return `<section><h3>${label}</h3><p>${seconds} s, ${speed.toFixed(1)} m/s${ended}</p>
          ${svg(line([...road, road[0]], "road") + path + car, view, `The car on its track ${label}`)}</section>`;
      }).join("");
    };
    const load = () => state.stretch(Math.max(...data.arms[arm.value].drives.map(({ poses }) => poses.length)) - 1);
    arm.addEventListener("change", () => { state.t = 0; load(); });
    load();
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".replay").forEach((box) => {
    const data = JSON.parse(box.querySelector("script").textContent);
    ({ offloading, driving })[box.dataset.kind](box, data);
  }));
})();
