package main

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"
)

// A record is what is kept of a shop.
type record struct {
	Sequence   int64  `json:"sequence"` // of the last event that was used
	Version    int64  `json:"version"`
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

// A folder keeps records as files that only their owner can read.
type folder struct{ dir string }

// path is the file of a shop. Shop ids may contain anything.
func (f folder) path(account, shop string) string {
	return filepath.Join(f.dir, hex.EncodeToString([]byte(account))+"-"+hex.EncodeToString([]byte(shop))+".json")
}

// get returns the record of a shop, an empty one if there is none.
func (f folder) get(account, shop string) (record, error) {
	var r record
	doc, err := os.ReadFile(f.path(account, shop))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if json.Unmarshal(doc, &r) != nil {
		return r, errors.New(f.path(account, shop) + " is no record")
	}
	return r, nil
}

// put replaces the record of a shop as a whole.
func (f folder) put(account, shop string, r record) error {
	doc, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.dir, ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(doc)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), f.path(account, shop))
	}
	return err
}
