//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
)

func measureAll(context.Context, options, *report, io.Writer) (*report, error) {
	return nil, errors.New("measuring needs Linux; -from shows what was measured there")
}
