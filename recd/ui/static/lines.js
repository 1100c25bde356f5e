// The points of one plot that the page has: typed arrays that grow behind and are cut in front.

export class Lines {
  constructor(count) {
    this.count = count;
    this.clear();
  }

  clear() {
    this.room = 1024;
    this.rows = 0;
    this.holes = false;
    this.x = new Float64Array(this.room);
    this.ys = Array.from({ length: this.count }, () => new Float64Array(this.room));
  }

  /** Take points in: instead of all (`from` is null), or of those at `from` and later. */
  take(x, ys, from, holes) {
    if (from === null) {
      this.rows = 0;
      this.holes = false;
    } else {
      while (this.rows && this.x[this.rows - 1] >= from) this.rows -= 1;
    }
    this.holes ||= holes;
    const rows = this.rows + x.length;
    if (rows > this.room) this.grow(rows);
    this.x.set(x, this.rows);
    for (let i = 0; i < this.count; i += 1) this.ys[i].set(ys[i], this.rows);
    this.rows = rows;
  }

  grow(rows) {
    this.room = Math.max(2 * this.room, rows);
    const larger = (old) => {
      const made = new Float64Array(this.room);
      made.set(old.subarray(0, this.rows));
      return made;
    };
    this.x = larger(this.x);
    this.ys = this.ys.map(larger);
  }

  /** Forget what is before `begin`, but for one point, from which a line comes in. Seldom, as it copies. */
  cut(begin) {
    let first = 0;
    while (first + 1 < this.rows && this.x[first + 1] < begin) first += 1;
    if (first < 256 || first < this.rows / 4) return;
    for (const a of [this.x, ...this.ys]) a.copyWithin(0, first, this.rows);
    this.rows -= first;
  }

  /** As uPlot takes it; gaps are null there, which typed arrays cannot hold. */
  data() {
    const part = (a) => a.subarray(0, this.rows);
    if (!this.holes) return [part(this.x), ...this.ys.map(part)];
    return [part(this.x), ...this.ys.map((y) => Array.from(part(y), (v) => (Number.isNaN(v) ? null : v)))];
  }

  last(line) {
    return this.rows ? this.ys[line][this.rows - 1] : NaN;
  }
}
