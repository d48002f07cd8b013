"""SageMaker on the laptop: training, processing and transform jobs, models and endpoints that really run."""
