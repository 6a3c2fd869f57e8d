//go:build !linux

package netwatch

import "context"

func watch(ctx context.Context, event func()) { poll(ctx, event) }
