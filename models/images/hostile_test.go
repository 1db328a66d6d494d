// SPDX-License-Identifier: Apache-2.0

//go:build unix

package images_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// Something in a folder that is not a picture is named, or skipped and counted, and nothing waits for it or loops for ever.
func TestHostileFolders(t *testing.T) {
	link := func(to string) func(string) error { return func(path string) error { return os.Symlink(to, path) } }
	for name, c := range map[string]struct {
		at   string
		make func(path string) error
		want string
	}{
		"pipe":          {"a/p.png", func(path string) error { return syscall.Mkfifo(path, 0o666) }, "p.png: want a regular file, got a special one"},
		"link to none":  {"a/l.png", link("nowhere"), "l.png: no such file"},
		"link to self":  {"a/l.png", link("l.png"), "l.png: too many"},
		"circle":        {"a/sub", link(".."), "sub: want each folder once, got a link to"},
		"link to pipe":  {"a/l.png", link("/dev/zero"), "l.png: want a regular file, got a special one"},
		"farther round": {"a/x", func(path string) error { return os.Symlink(filepath.Dir(path), path) }, "x: want each folder once, got a link to"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := layout(t, files{"a/1.png": plain(t, 1, 2, 3)})
			require.NoError(t, c.make(filepath.Join(dir, c.at)))
			_, err := images.Folder(dir, images.FolderOptions{})
			assert.ErrorContains(t, err, c.want)
			var wrong *images.PictureError
			assert.ErrorAs(t, err, &wrong)
			p, err := images.Folder(dir, images.FolderOptions{Skip: true})
			require.NoError(t, err)
			assert.Equal(t, []string{"a/1.png 0"}, names(p))
			require.Len(t, p.Skipped(), 1)
			assert.ErrorContains(t, p.Skipped()[0], c.want)
		})
	}
	linked := layout(t, files{"a/real/1.png": plain(t, 1, 2, 3)})
	require.NoError(t, os.Symlink("real", filepath.Join(linked, "a", "link")))
	_, err := images.Folder(linked, images.FolderOptions{})
	assert.ErrorContains(t, err, filepath.Join("a", "real")+": want each folder once, got it before as "+filepath.Join(linked, "a", "link"))
	dir := layout(t, files{"a/x.jpg/1.png": plain(t, 1, 2, 3), "a.png": nil})
	_, err = images.Folder(dir, images.FolderOptions{})
	assert.ErrorContains(t, err, "a.png: want pictures in sub-folders")
	require.NoError(t, os.Remove(filepath.Join(dir, "a.png")))
	p, err := images.Folder(dir, images.FolderOptions{}) // a folder with the extension of a picture is still a folder
	require.NoError(t, err)
	assert.Equal(t, []string{"a/x.jpg/1.png 0"}, names(p))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o777))
	_, err = images.Folder(dir, images.FolderOptions{})
	assert.ErrorContains(t, err, "empty: want pictures")
}

// A folder that changes after it was listed gives errors that name the file.
func TestChangingFolder(t *testing.T) {
	dir := layout(t, files{"a/1.png": plain(t, 1, 2, 3), "a/2.png": plain(t, 1, 2, 3), "a/3.png": plain(t, 1, 2, 3), "a/4.png": plain(t, 1, 2, 3)})
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 2}})
	require.NoError(t, err)
	require.NoError(t, os.Remove(p.Path(0)))
	require.NoError(t, os.Truncate(p.Path(1), 30))
	require.NoError(t, os.Remove(p.Path(2)))
	require.NoError(t, os.Mkdir(p.Path(2), 0o777))
	x := []any{make([]float32, 12)}
	for i, want := range []string{"no such file", "got a damaged one", "want a regular file, got a directory"} {
		err := p.Example(i, x, nil)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, 1, strings.Count(err.Error(), p.Path(i)))
	}
	assert.ErrorIs(t, p.Example(0, x, nil), os.ErrNotExist)
	assert.NoError(t, p.Example(3, x, nil))
}

// tiffFile is a TIFF picture of 8-bit grey with the given tags and no other, and data at its end.
func tiffFile(data []byte, tags ...[2]uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("II*\x00"), 8)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(tags)))
	for _, t := range tags {
		b = binary.LittleEndian.AppendUint16(b, uint16(t[0]))
		b = binary.LittleEndian.AppendUint16(b, 4)
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint32(b, t[1])
	}
	return append(binary.LittleEndian.AppendUint32(b, 0), data...)
}

// Small files of large pictures take no memory to speak of before they are refused.
func TestPictureBombs(t *testing.T) {
	var screen, scans bytes.Buffer
	require.NoError(t, gif.Encode(&screen, image.NewPaletted(image.Rect(0, 0, 2, 2), color.Palette{color.Black, color.White}), nil))
	binary.LittleEndian.PutUint16(screen.Bytes()[6:], 65535)
	binary.LittleEndian.PutUint16(screen.Bytes()[8:], 65535)
	require.NoError(t, jpeg.Encode(&scans, image.NewGray(image.Rect(0, 0, 16, 16)), nil))
	at := bytes.Index(scans.Bytes(), []byte{0xff, 0xda})
	many := append(bytes.Clone(scans.Bytes()[:at]), bytes.Repeat(scans.Bytes()[at:scans.Len()-2], 600)...)
	wide := bytes.Clone(many[:at+40*(scans.Len()-2-at)]) // 40 scans
	sof := bytes.Index(wide, []byte{0xff, 0xc0})
	copy(wide[sof+5:], []byte{5700 >> 8, 5700 & 255, 5700 >> 8, 5700 & 255})
	bmp := append([]byte("BM"), make([]byte, 52)...)
	copy(bmp[10:], []byte{54, 0, 0, 0, 40, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 24, 0}) // 65536 x 65536
	grey := func(width, height uint32, more ...[2]uint32) []byte {
		tags := [][2]uint32{{256, width}, {257, height}, {258, 8}, {259, 8}, {262, 1}}
		return tiffFile([]byte("\x78\x9c\x00"), append(tags, more...)...)
	}
	const ihdr = "IHDR\x00\x00\xff\xff\x00\x00\xff\xff\x08\x02\x00\x00\x00"
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"GIF screen": {screen.Bytes(), images.ErrTooLarge},
		"JPEG scans": {many, images.ErrDamaged},
		"JPEG work":  {wide, images.ErrTooLarge},
		"BMP":        {bmp, images.ErrTooLarge},
		"TIFF":       {grey(60000, 60000, [2]uint32{273, 8}, [2]uint32{278, 1}, [2]uint32{279, 3}), images.ErrTooLarge},
		"TIFF strip": {grey(6000, 6000, [2]uint32{273, 8}, [2]uint32{278, 1 << 31}, [2]uint32{279, 3}), images.ErrTooLarge},
		"TIFF tile":  {grey(100, 100, [2]uint32{322, 20000}, [2]uint32{323, 20000}, [2]uint32{324, 8}, [2]uint32{325, 3}), images.ErrTooLarge},
		"PNG":        {binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"+ihdr), crc32.ChecksumIEEE([]byte(ihdr))), images.ErrTooLarge},
		"nothing":    {nil, images.ErrFormat},
		"zeros":      {make([]byte, 1000), images.ErrFormat},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := images.Preprocessing{Size: 8}.Read(bytes.NewReader(c.file), name)
		runtime.ReadMemStats(&after)
		if strconv.IntSize == 32 && c.want == images.ErrTooLarge && !errors.Is(err, c.want) { // the decoder has refused a size that is no int
			var of *images.PictureError
			assert.ErrorAs(t, err, &of, name)
		} else {
			assert.ErrorIs(t, err, c.want, "%s: %v", name, err)
		}
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), name)
	}
}
