'use strict';
// Numbers, objects, strings, closures, typed arrays, maps, sorting, JSON and regular expressions.

function random(seed) {
	let state = seed;
	return () => (state = Math.imul(state, 1664525) + 1013904223 | 0) >>> 0;
}

class Body {
	constructor(next) {
		this.x = next() % 1000;
		this.y = next() % 1000;
		this.vx = this.vy = 0;
		this.mass = next() % 9 + 1;
	}
	pull(other) {
		const dx = other.x - this.x, dy = other.y - this.y;
		const square = dx * dx + dy * dy + 10;
		const force = other.mass / (square * Math.sqrt(square));
		this.vx += dx * force;
		this.vy += dy * force;
	}
	move() {
		this.x += this.vx;
		this.y += this.vy;
	}
}

function bodies(steps) {
	const all = Array.from({length: 60}, ((next) => () => new Body(next))(random(7)));
	for (let step = 0; step < steps; step++) {
		for (const one of all)
			for (const other of all)
				if (one !== other)
					one.pull(other);
		for (const one of all)
			one.move();
	}
	return all.reduce((sum, one) => sum + one.x * one.y, 0).toFixed(6);
}

function sieve(limit) {
	const marks = new Uint8Array(limit);
	let count = 0;
	for (let i = 2; i < limit; i++) {
		if (marks[i])
			continue;
		count++;
		for (let j = 2 * i; j < limit; j += i)
			marks[j] = 1;
	}
	return count;
}

function words(lines) {
	const counts = new Map();
	for (const line of lines)
		for (const word of line.match(/[a-z]+/gi) || [])
			counts.set(word, (counts.get(word) || 0) + 1);
	return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

const text = require('fs').readFileSync('/bench/data/text', 'latin1').split('\n').slice(0, 20000);
const ranked = words(text);
const copy = JSON.parse(JSON.stringify(ranked.map(([word, count]) => ({word, count}))));
console.log(bodies(3000), sieve(8000000), ranked.length, copy.length);
console.log(copy.slice(0, 50).map((item) => item.word + item.count).join());
