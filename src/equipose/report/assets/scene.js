// The 3D view: unpacks a clip, draws one frame, moves through time.
"use strict";
(() => {
  const place = document.getElementById("scene");
  const clips = equipose.payload.scene.clips;
  if (!place || !clips.length) {
    equipose.start();
    return;
  }
  const picker = document.getElementById("scene-clip");
  const slider = document.getElementById("scene-time");
  const play = document.getElementById("scene-play");
  const state = document.getElementById("scene-state");
  let clip = null;
  let timer = null;

  const metres = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
      const millimetres = view.getInt16(2 * i, true);
      return millimetres === -32768 ? NaN : millimetres / 1000;
    });
  };
  const unpack = (source) => ({
    ...source,
    poses: source.poses.map((pose) => ({ ...pose, xyz: metres(pose.xyz) })),
    clouds: source.clouds.map((cloud) => ({ ...cloud, xyz: metres(cloud.xyz) })),
  });

  // x, y, z of points a to b of a flat array.
  const columns = (xyz, a, b) => [0, 1, 2].map((axis) => Array.from({ length: b - a }, (_, i) => xyz[3 * (a + i) + axis]));
  // Bones as one broken line: parent, child, gap.
  const skeleton = (pose, time) => {
    const points = columns(pose.xyz, time * clip.joints, (time + 1) * clip.joints);
    if (!clip.bones.length) return points;
    return points.map((values) => clip.bones.flatMap(([parent, child]) => [values[parent], values[child], null]));
  };
  const frame = (time) => [
    ...clip.clouds.map((cloud) => columns(cloud.xyz, cloud.offsets[time], cloud.offsets[time + 1])),
    ...clip.poses.map((pose) => skeleton(pose, time)),
  ];

  const traces = (time) => {
    const positions = frame(time);
    const clouds = clip.clouds.map((cloud, i) => ({
      type: "scatter3d", mode: "markers", name: cloud.label, hoverinfo: "name",
      marker: { color: cloud.colour, size: cloud.size, opacity: 0.75 },
      x: positions[i][0], y: positions[i][1], z: positions[i][2],
    }));
    const poses = clip.poses.map((pose, k) => {
      const [x, y, z] = positions[clip.clouds.length + k];
      return {
        type: "scatter3d", mode: clip.bones.length ? "lines+markers" : "markers", name: pose.label, hoverinfo: "name",
        line: { color: pose.colour, width: k ? 6 : 8 },
        marker: { color: pose.colour, size: k ? 3 : 4, symbol: k ? "diamond" : "circle" },
        visible: k > 3 ? "legendonly" : true, x, y, z,
      };
    });
    return [...clouds, ...poses];
  };

  // One box around the people of the whole clip, equal scale on all axes.
  const box = () => {
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    clip.poses.forEach(({ xyz }) => xyz.forEach((value, i) => {
      if (Number.isFinite(value)) {
        low[i % 3] = Math.min(low[i % 3], value);
        high[i % 3] = Math.max(high[i % 3], value);
      }
    }));
    return low.map((value, axis) => [value - 0.4, high[axis] + (axis === 1 ? 0.15 : 0.4)]);
  };

  const layout = () => {
    const ranges = box();
    const sizes = ranges.map(([low, high]) => high - low);
    const largest = Math.max(...sizes);
    const axis = (title, k) => ({
      title: { text: title }, range: ranges[k], autorange: false, color: "@muted", gridcolor: "@line", zerolinecolor: "@line",
      backgroundcolor: "@card", showbackground: false, tickfont: { size: 11 }, nticks: 5, showspikes: false,
    });
    return equipose.coloured({
      autosize: true, height: place.clientWidth < 600 ? 440 : 560, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', sans-serif", color: "@ink", size: 12 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: "@muted", activecolor: "@ink" }, uirevision: clip.name,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "top", bgcolor: "rgba(0,0,0,0)", font: { color: "@ink" }, itemsizing: "constant" },
      scene: {
        aspectmode: "manual",
        aspectratio: { x: (1.3 * sizes[0]) / largest, y: (1.3 * sizes[1]) / largest, z: (1.3 * sizes[2]) / largest },
        camera: { up: { x: 0, y: -1, z: 0 }, eye: { x: 0.95, y: -0.32, z: -1.85 }, center: { x: 0, y: 0.08, z: 0 } },
        xaxis: axis("x right, m", 0), yaxis: axis("y down, m", 1), zaxis: axis("z forward, m", 2),
        uirevision: clip.name, dragmode: "orbit",
      },
    }, equipose.theme());
  };

  const describe = (time) => {
    const errors = clip.poses.filter((pose) => pose.error_mm).map((pose) => `${pose.label} ${pose.error_mm[time].toFixed(1)} mm`);
    state.textContent = `frame ${clip.frames[time]} (${(time / equipose.payload.scene.rate_hz).toFixed(1)} s): ${errors.join(", ")}`;
  };
  const show = (time) => {
    const positions = frame(time);
    slider.value = time;
    describe(time);
    const [x, y, z] = [0, 1, 2].map((axis) => positions.map((trace) => trace[axis]));
    return Plotly.restyle(place, { x, y, z }, positions.map((_, i) => i));
  };
  const draw = () => Plotly.react(place, equipose.coloured(traces(Number(slider.value)), equipose.theme()), layout(), {
    responsive: true, displaylogo: false, modeBarButtons: [["resetCameraDefault3d", "toImage"]],
  });

  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const start = () => {
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => show((Number(slider.value) + 1) % clip.frames.length), 1000 / equipose.payload.scene.rate_hz);
  };
  const choose = (index) => {
    clip = unpack(clips[index]);
    slider.max = clip.frames.length - 1;
    slider.value = 0;
    describe(0);
  };

  clips.forEach((each, i) => picker.add(new Option(each.name, i)));
  picker.addEventListener("change", () => {
    stop();
    choose(Number(picker.value));
    draw();
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  play.addEventListener("click", () => (timer ? stop() : start()));
  equipose.showFrame = show;
  choose(0);
  equipose.onTheme(draw);
  equipose.start();
})();
