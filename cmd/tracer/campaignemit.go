package main

import (
	"github.com/llm-tracer/tracer/internal/campaign"
)

func (c *campaignCommand) emit(*terminal, *campaign.File) error { return nil }
