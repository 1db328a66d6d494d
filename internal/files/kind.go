// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// kinds are the formats that begin with a fixed sequence of bytes.
var kinds = []struct{ magic, kind string }{
	{"version https://git-lfs.github.com/", "a Git LFS pointer (git lfs pull fetches the file itself)"},
	{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "a pickled file of torch.save, of before PyTorch 1.6"},
	{"\x80\x02", "a Python pickle"}, {"\x80\x03", "a Python pickle"}, {"\x80\x04", "a Python pickle"}, {"\x80\x05", "a Python pickle"},
	{"\x89PNG\r\n\x1a\n", "a PNG picture"},
	{"\xff\xd8\xff", "a JPEG picture"},
	{"GIF8", "a GIF picture"},
	{"BM", "a BMP picture"},
	{"II*\x00", "a TIFF picture"}, {"MM\x00*", "a TIFF picture"},
	{"%PDF-", "a PDF document"},
	{"\x89HDF\r\n\x1a\n", "an HDF5 file"},
	{"\x93NUMPY", "a NumPy array"},
	{"GGUF", "a GGUF file"},
	{"PAR1", "a Parquet file"},
	{"MATLAB 5.0", "a MATLAB file"},
	{"BZh", "a bzip2 stream"},
	{"\xfd7zXZ\x00", "an xz stream"},
	{"\x28\xb5\x2f\xfd", "a zstd stream"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
	{"Rar!", "a rar archive"},
	{"\x00\x00\x08\x01", "an idx file of labels"},
	{"\x00\x00\x08\x03", "an idx file of images"},
	{"<?xml", "an XML document"},
}

// Kind names the format of a file by its beginning, 512 bytes or fewer if the file has no more, with an article:
// "a gzip stream of a tar archive". It is "" for a format that it does not know.
func Kind(head []byte) string {
	if len(head) == 0 {
		return "an empty file"
	}
	for _, k := range kinds {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.kind
		}
	}
	switch {
	case IsGzip(head):
		return gzipKind(head)
	case IsTar(head):
		return "a tar archive"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return zipKind(head)
	case bytes.HasPrefix(head, []byte("RIFF")) && len(head) >= 12 && string(head[8:12]) == "WEBP":
		return "a WebP picture"
	case len(head) >= 12 && string(head[4:8]) == "ftyp":
		return isoKind(string(head[8:12]))
	case len(head) == headBytes && len(bytes.Trim(head, "\x00")) == 0:
		return "a file that begins with zeros, as of an unfinished download"
	}
	return textKind(head)
}

// IsGzip reports whether a file that begins so is a gzip stream.
func IsGzip(head []byte) bool { return bytes.HasPrefix(head, []byte("\x1f\x8b\x08")) }

// IsTar reports whether a file that begins so is a tar archive.
func IsTar(head []byte) bool {
	const at = 257
	return len(head) >= at+5 && string(head[at:at+5]) == "ustar"
}

// gzipKind says what is packed too, if it is something known.
func gzipKind(head []byte) string {
	const kind = "a gzip stream"
	z, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return kind
	}
	inner := make([]byte, headBytes)
	n, _ := io.ReadFull(z, inner) // to where the beginning ends
	if of := Kind(inner[:n]); n > 0 && of != "" {
		return kind + " of " + of
	}
	return kind
}

// zipKind tells what torch.save writes by the name of the first file.
func zipKind(head []byte) string {
	const fixed = 30 // bytes before the name
	if len(head) > fixed {
		n := int(binary.LittleEndian.Uint16(head[26:]))
		if bytes.HasSuffix(head[fixed:min(len(head), fixed+n)], []byte("/data.pkl")) {
			return "a pickled file of torch.save (.pt, .pth)"
		}
	}
	return "a zip archive"
}

// isoKind names the pictures of telephones.
func isoKind(brand string) string {
	switch brand {
	case "heic", "heix", "mif1", "msf1", "heim", "heis":
		return "a HEIC picture"
	case "avif", "avis":
		return "an AVIF picture"
	}
	return "a video"
}

// textKind tells HTML, JSON and other texts apart.
func textKind(head []byte) string {
	for i := range min(utf8.UTFMax, len(head)) { // a character may be cut at the end
		if utf8.Valid(head[:len(head)-i]) {
			head = head[:len(head)-i]
			break
		}
	}
	if !utf8.Valid(head) || bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }) {
		return ""
	}
	text := bytes.ToLower(bytes.TrimLeft(head, "\ufeff \n\r\t"))
	switch {
	case bytes.HasPrefix(text, []byte("<!doctype html")), bytes.HasPrefix(text, []byte("<html")):
		return "an HTML page"
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return "a JSON text"
	}
	return "a text"
}
