/** What is on the canvas: the image, a result beside or over it, the veil, and the tint. */

export class Stage {
  constructor(canvas, view, layer) {
    Object.assign(this, { canvas, view, layer });
    this.context = canvas.getContext("2d");
    this.scratch = document.createElement("canvas");
    /**
     * `original`, `result` and `veil` are image elements or null, and `live` is the estimate so
     * far: {picture, box}. `divide` is the share of the width that shows the original.
     */
    this.scene = {
      original: null,
      result: null,
      live: null,
      veil: null,
      divide: null,
      isHeld: false,
      isMaskShown: true,
      isFilled: false,
      draft: null,
    };
    view.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.#resize()).observe(canvas.parentElement);
  }

  /** Change the scene and draw it. */
  show(changes) {
    Object.assign(this.scene, changes);
    this.draw();
  }

  /** Draw before the next frame, once. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#paint();
    });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    const ratio = Math.min(2, devicePixelRatio);
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.view.setScreen(width, height);
  }

  #paint() {
    const { context, scene, canvas } = this;
    const ratio = Math.min(2, devicePixelRatio);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!scene.original) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#board();
    this.#picture(scene.original);
    if (scene.isHeld) return;
    if (scene.result) this.#after();
    if (scene.live) this.#estimate();
    if (scene.isMaskShown && !(scene.live && scene.isFilled)) this.#clipped(() => this.layer.paint(context));
    if (scene.draft) this.#outline(scene.draft);
  }

  /** The chessboard below transparent parts. */
  #board() {
    const { context, view } = this;
    const [x, y] = view.toScreen(0, 0);
    context.fillStyle = this.boards ??= context.createPattern(chessboard(), "repeat");
    context.fillRect(x, y, view.image.width * view.scale, view.image.height * view.scale);
  }

  /** A picture of a part of the image: left, top, width and height; without it, of the whole. */
  #picture(picture, box = null, context = this.context) {
    const { view } = this;
    const [left, top, width, height] = box ?? [0, 0, view.image.width, view.image.height];
    const [x, y] = view.toScreen(left, top);
    context.imageSmoothingEnabled = (width * view.scale) / picture.naturalWidth < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, x, y, width * view.scale, height * view.scale);
  }

  /** The result and its veil; right of the divider only, where there is one. */
  #after() {
    const { context, scene, view } = this;
    context.save();
    if (scene.divide !== null) {
      const [x] = view.toScreen(view.image.width * scene.divide, 0);
      context.beginPath();
      context.rect(x, 0, view.screen.width, view.screen.height);
      context.clip();
    }
    this.#picture(scene.result);
    if (scene.veil) this.#picture(scene.veil);
    context.restore();
  }

  /** The estimate so far: for a fill inside the hole only, as all else stays as it is. */
  #estimate() {
    const { scratch, canvas, context, scene } = this;
    const { picture, box } = scene.live;
    if (!scene.isFilled) {
      this.#picture(picture, box);
      return;
    }
    [scratch.width, scratch.height] = [canvas.width, canvas.height];
    const own = scratch.getContext("2d");
    own.setTransform(context.getTransform());
    this.#picture(picture, box, own);
    own.globalCompositeOperation = "destination-in";
    this.layer.paintSolid(own);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(scratch, 0, 0);
    context.restore();
  }

  #clipped(paint) {
    const { context, view } = this;
    const [x, y] = view.toScreen(0, 0);
    context.save();
    context.beginPath();
    context.rect(x, y, view.image.width * view.scale, view.image.height * view.scale);
    context.clip();
    context.imageSmoothingEnabled = view.scale < 2;
    paint();
    context.restore();
  }

  /** The line of a lasso, a polygon or a rectangle that is being drawn. */
  #outline(points) {
    const { context, view } = this;
    context.beginPath();
    points.forEach((point) => context.lineTo(...view.toScreen(...point)));
    context.lineJoin = "round";
    for (const [width, color] of [[3, "#fff"], [1.5, `rgb(${this.layer.color})`]]) {
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
    if (points.length) {
      const [x, y] = view.toScreen(...points[0]);
      context.beginPath();
      context.arc(x, y, 4, 0, 7);
      context.fillStyle = "#fff";
      context.fill();
      context.stroke();
    }
  }
}

function chessboard() {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 16;
  const context = tile.getContext("2d");
  context.fillStyle = "#d9d9d9";
  context.fillRect(0, 0, 16, 16);
  context.fillStyle = "#c4c4c4";
  context.fillRect(0, 0, 8, 8);
  context.fillRect(8, 8, 8, 8);
  return tile;
}
