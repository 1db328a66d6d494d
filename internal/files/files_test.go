// SPDX-License-Identifier: Apache-2.0

package files_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/files"
)

func zipped(t *testing.T, name string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	_, err := w.Create(name)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func archived(t *testing.T) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "a", Mode: 0o666}))
	require.NoError(t, w.Close())
	return b.Bytes()
}

func packed(t *testing.T, b []byte) []byte {
	var to bytes.Buffer
	w := gzip.NewWriter(&to)
	_, err := w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return to.Bytes()
}

func TestKind(t *testing.T) {
	for want, file := range map[string][]byte{
		"a Git LFS pointer (git lfs pull fetches the file itself)": []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"),
		"an HTML page":    []byte("\n <!DOCTYPE html><html>"),
		"an XML document": []byte(`<?xml version="1.0"?><Error/>`),
		"a JSON text":     []byte(`{"error": "not found"}`),
		"a text":          []byte("Entry not found, ä"[:18]), // cut within a character
		"an empty file":   {},
		"a pickled file of torch.save (.pt, .pth)": zipped(t, "resnet20/data.pkl"),
		"a zip archive":                    zipped(t, "images.bin"),
		"a Python pickle":                  []byte("\x80\x02}q\x00(U\x0bbatch_label"),
		"a tar archive":                    archived(t),
		"a gzip stream of a tar archive":   packed(t, archived(t)),
		"a gzip stream of a Python pickle": packed(t, []byte("\x80\x04\x95")),
		"a gzip stream":                    packed(t, []byte{1, 2, 3}),
		"a WebP picture":                   []byte("RIFF\x00\x00\x00\x00WEBPVP8 "),
		"a HEIC picture":                   []byte("\x00\x00\x00\x18ftypheic"),
		"an idx file of images":            {0, 0, 8, 3, 0, 0, 0, 1},
		"":                                 {1, 2, 3, 4},
		"a pickled file of torch.save, of before PyTorch 1.6":         []byte("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
		"a file that begins with zeros, as of an unfinished download": make([]byte, 512),
	} {
		assert.Equal(t, want, files.Kind(file[:min(512, len(file))]))
		assert.Equal(t, want, files.KindOf(bytes.NewReader(file)))
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte("four"), 0o666))
	f, size, err := files.Open(path)
	require.NoError(t, err)
	assert.EqualValues(t, 4, size)
	require.NoError(t, f.Close())

	_, _, err = files.Open(dir)
	assert.ErrorContains(t, err, dir+": want a regular file, got a directory")
	_, _, err = files.Open(filepath.Join(dir, "b"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(path, []byte("four"), 0o666))
	b, err := files.Read(path, 4)
	require.NoError(t, err)
	assert.Equal(t, "four", string(b))
	_, err = files.Read(path, 3)
	assert.ErrorContains(t, err, path+": want a file of at most 3 bytes, got 4")
	_, err = files.Read(filepath.Dir(path), 3)
	assert.ErrorContains(t, err, "got a directory")
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"n": 3}`: "", " {\n} \n": "", `{"n": 3}{"n": 4}`: "want one JSON value, got more", `{"n": 3}]`: "want one JSON value, got more",
		`{"m": 3}`: `unknown field "m"`, `{"n"`: "unexpected EOF", "": "EOF",
	} {
		var to struct {
			N int `json:"n"`
		}
		err := files.JSON([]byte(text), &to)
		if want == "" {
			assert.NoError(t, err, text)
			continue
		}
		assert.ErrorContains(t, err, want, text)
	}
}
