// Node's share of the soak test: code that its compilers optimize, deoptimize and throw away, with
// results that depend on the seed alone. usage: node optimized.js SEED
'use strict';
const crypto = require('crypto'), zlib = require('zlib');
const seed = Number(process.argv[2]);
let state = seed * 2654435761 >>> 0 | 1;

function next() {
	state ^= state << 13;
	state ^= state >>> 17;
	state ^= state << 5;
	return state >>> 0;
}

function digest(value) {
	return crypto.createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 24);
}

const parts = {
	typedArrays() {
		const a = new Int32Array(20000), b = new Float64Array(20000), c = new Uint8ClampedArray(20000);
		for (let i = 0; i < a.length; i++)
			a[i] = next();
		for (let round = 0; round < 60; round++)
			for (let i = 1; i < a.length; i++) {
				a[i] = Math.imul(a[i], 31) + a[i - 1] | 0;
				b[i] = b[i - 1] * 0.5 + a[i] / 3;
				c[i] = b[i] / 1e6 + i;
			}
		return [a[777], b[19999], digest(Array.from(c.subarray(0, 500))), digest(Array.from(a.sort()).slice(0, 99))];
	},
	doubles() {
		let x = 0.1, y = 0, sum = 0;
		for (let i = 0; i < 1000000; i++) {
			const t = x * x - y * y + 0.285;
			y = 2 * x * y + 0.01;
			x = t;
			if (x * x + y * y > 4)
				x = (i % 100) / 200, y = 0;
			sum += x * (i & 7);
		}
		return [sum, Math.sin(sum), Math.pow(Math.abs(sum), 0.3), (sum * 1e3) | 0, sum >>> 3];
	},
	bigIntegers() {
		let a = 1n, b = BigInt(seed) + 3n;
		for (let i = 0; i < 400; i++) {
			a = a * b + BigInt(i);
			b = (b * 0x9e3779b97f4a7c15n + a) & (1n << 300n) - 1n;
		}
		return [digest(a.toString()), b.toString(36)];
	},
	documents() {
		const tree = [];
		for (let i = 0; i < 4000; i++)
			tree.push({ id: i, value: next() / 7, text: String.fromCharCode(next() % 900 + 32).repeat(i % 7),
				    inner: { list: [i, [i % 3], null, i % 2 === 0] } });
		const text = JSON.stringify(tree), again = JSON.parse(text);
		again.sort((p, q) => p.value - q.value || p.id - q.id);
		return [text.length, digest(again)];
	},
	expressions() {
		let text = '';
		for (let i = 0; i < 6000; i++)
			text += `${['get', 'set', 'put'][next() % 3]}_${next() % 1000}(${next() % 50}); `;
		const found = [...text.matchAll(/(?<verb>[gs]et)_(\d{2,})\((\d+)\)/g)].map(m => m.groups.verb + m[3]);
		return [found.length, digest(found), digest(text.replace(/(\w+)_(\d+)\((\d+)\)/g, '$3$1$2'))];
	},
	closures() {
		const make = [k => v => v + k, k => v => v * k | 0, k => v => v ^ k, k => v => v + '' + k];
		let value = 1, kinds = 0;
		for (let i = 0; i < 300000; i++) {
			value = make[i % 1000 === 999 ? 3 : next() % 3](next() % 9 + 1)(value);
			if (typeof value === 'string') { // deoptimizes
				kinds++;
				value = parseInt(value, 10) | 0;
			}
		}
		return [value, kinds];
	},
	shapes() {
		class Point { constructor(x, y) { this.x = x; this.y = y; } length() { return this.x * this.x + this.y * this.y; } }
		class Space extends Point { constructor(x, y, z) { super(x, y); this.z = z; } length() { return super.length() + this.z * this.z; } }
		let total = 0;
		const all = [];
		for (let i = 0; i < 200000; i++) {
			const point = i % 3 ? new Point(i % 100, next() % 10) : new Space(i % 50, next() % 5, 1.5);
			if (i % 5000 === 0)
				point['extra' + i % 7] = i;
			total += point.length();
			all[i % 1000] = point;
		}
		return [total, digest(all.slice(0, 50))];
	},
	generated() {
		let sum = 0;
		for (let i = 0; i < 250; i++) {
			const f = new Function('a', 'b', `let s = ${i}; for (let k = 0; k < a; k++) s = (s * ${i % 17 + 3} + (k ^ b)) | 0; return s;`);
			for (let k = 0; k < 20; k++)
				sum = sum + f(k * 40, i) | 0;
		}
		return sum;
	},
	maps() {
		const map = new Map(), set = new Set(), weak = new WeakMap();
		for (let i = 0; i < 100000; i++) {
			const key = next() % 5000;
			map.set(key, (map.get(key) || 0) + i);
			set.add(`s${key % 777}`);
			weak.set({ i }, i);
			if (i % 3 === 0)
				map.delete(next() % 5000);
		}
		return [map.size, set.size, digest([...map].sort((p, q) => p[0] - q[0]))];
	},
	errors() {
		let caught = 0, deep = 0;
		const fall = n => { deep++; if (n === 0) throw new RangeError('x' + deep); try { fall(n - 1); } finally { deep--; } };
		for (let i = 0; i < 2000; i++)
			try { fall(i % 20); } catch (error) { caught += error instanceof RangeError; deep--; }
		function* count(n) { for (let i = 0; i < n; i++) yield i * seed; }
		return [caught, deep, [...count(2000)].reduce((p, q) => (p * 31 + q) | 0, 7)];
	},
	webAssembly() {
		// (func (param i32) (result i32)) loop: acc = acc * 31 + n, n -= 1 while n
		const bytes = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0,
			7, 5, 1, 1, 0x66, 0, 0, 10, 0x1e, 1, 0x1c, 1, 1, 0x7f, 3, 0x40, 0x20, 1, 0x41, 0x1f, 0x6c, 0x20, 0,
			0x6a, 0x21, 1, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x20, 1, 0x0b]);
		const f = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f;
		let sum = 0;
		for (let i = 1; i < 300; i++)
			sum = sum + f(i * 20 + seed) | 0;
		return sum;
	},
	strings() {
		let text = '';
		for (let i = 0; i < 60000; i++)
			text = i % 1000 === 0 ? text.slice(-3000) : text + String.fromCharCode(97 + next() % 26);
		const packed = zlib.gzipSync(text), again = zlib.gunzipSync(packed).toString();
		return [again === text, digest(text.split('a').sort()), digest(Buffer.from(text).toString('base64'))];
	},
};

for (const [name, run] of Object.entries(parts))
	console.log(name, JSON.stringify(run()));
