package pagetest

// PaleTexts lists the texts whose contrast to what is behind them is below
// 4.5, the least for text by WCAG 2.2, 1.4.3. What cannot be used is exempt.
const PaleTexts = `(() => {
	const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
	const luminance = (colours) => {
		for (const c of colours) { pixel.fillStyle = c; pixel.fillRect(0, 0, 1, 1); }
		const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const pale = [];
	for (const e of document.body.querySelectorAll("*")) {
		const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join(" ").trim();
		if (text === "" || !e.checkVisibility() || e.closest("[aria-disabled=true], :disabled, noscript, script")) continue;
		const behind = [];
		for (let at = e; at !== null; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
		const [a, b] = [luminance(behind), luminance([...behind, getComputedStyle(e).color])].sort((x, y) => y - x);
		const contrast = (a + 0.05) / (b + 0.05);
		if (contrast < 4.5) pale.push(text + " " + contrast.toFixed(2));
	}
	return pale;
})()`
