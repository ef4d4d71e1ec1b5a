"""The public interface: topics, messages and their exact bytes. Imports nothing else of ours."""
