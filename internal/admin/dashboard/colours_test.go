package dashboard

import (
	"image"
	"image/color"
)

// coloursOf returns how many colours a picture has: one that shows nothing has
// few.
func coloursOf(picture image.Image) int {
	seen := make(map[color.RGBA]bool)
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			seen[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)] = true
		}
	}
	return len(seen)
}
