"""The worker: owns shards, feeds the engine, carries out its effects, never twice."""
